"""A crowd at work on one server, and the audit of what it was promised; all from outside."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from coditect import AsyncClient, Conflict, NotFound
from tests.faults.people import PATIENCE_SECONDS, PEOPLE, Worker, patiently
from tests.support.people import PASSWORD
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess
from tests.support.waiting import wait_until

AUDIT_PAGE = 1000
AT_ONCE = 8
"""How many sit down, or are audited, at the same time: what is tried are faults, not a burst."""


class Crowd:
    """People who work at the same time; ``url`` is where they reach the server."""

    def __init__(self, server: ServerProcess, url: str | None = None, *, seed: int = 1) -> None:
        self.server = server
        self.url = url or server.url
        self.workers: list[Worker] = []
        self.admin = AsyncClient(self.url, timeout_seconds=60)
        self.others = 0
        self._seed = seed
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._at_work = asyncio.Event()
        self._marks: dict[str, int] = {}
        self._trail: Counter[str] = Counter()
        self._restarts = 0

    async def begin(
        self, people: int = PEOPLE, place: Callable[[str], Awaitable[object]] | None = None
    ) -> None:
        """Make accounts, log everybody in, and let everybody do everything once.

        ``place`` is given each user's id before they log in: it may open their session somewhere.
        """
        await patiently(lambda: self.admin.login(ADMIN_EMAIL, ADMIN_PASSWORD))
        joining = (self._join(number, place) for number in range(people))
        self.workers = list(await asyncio.gather(*joining))
        await self.check()

    async def close(self) -> None:
        """Let everybody leave and their sessions end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self.workers:
            await patiently(lambda client=worker.client, id_=worker.session_id: _end(client, id_))
            await worker.close()
        await self.admin.close()

    async def _join(self, number: int, place: Callable[[str], Awaitable[object]] | None) -> Worker:
        email = f"worker{self._seed}-{number}@example.com"
        async with self._gate:
            user = await self.admin.create_user(email, PASSWORD)
            if place is not None:
                await place(user.user_id)
            client = AsyncClient(self.url, timeout_seconds=60)
            login = await patiently(lambda: client.login(email, PASSWORD))
            worker = Worker(email, client, login, random.Random(f"{self._seed}/{number}"))
            await worker.begin()
            return worker

    # ---- work -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Let everybody work meanwhile; at the end everybody finishes what they are at."""
        self._at_work.set()
        self._tasks = [
            asyncio.create_task(self._work(worker, step))
            for worker in self.workers
            for step in (worker.type_once, worker.save_once)
        ]
        try:
            yield
        finally:
            self._at_work.clear()
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                tasks, self._tasks = self._tasks, []
                await asyncio.gather(*tasks)

    async def _work(self, worker: Worker, step) -> None:
        while self._at_work.is_set():
            await step()
            # All of them together do as much as four who hardly pause.
            await asyncio.sleep(worker.random.uniform(0.05, 0.3) * max(1, len(self.workers) / 4))

    async def progress(self, times: int = 1) -> None:
        """Return when everybody has typed and saved so often again; raises what stopped anybody."""
        wanted = {
            id(worker): (len(worker.typed) + times + 1, len(worker.versions) + times)
            for worker in self.workers
        }

        def reached() -> bool:
            return all(
                len(worker.typed) >= wanted[id(worker)][0]
                and len(worker.versions) >= wanted[id(worker)][1]
                for worker in self.workers
            )

        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            while not reached():
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.05)

    def take_restarts(self) -> int:
        """Return how many shells were lost since the last call."""
        seen, self._restarts = self._restarts, sum(worker.restarts for worker in self.workers)
        return self._restarts - seen

    async def somebody_new(self) -> None:
        """See that a new account gets a working session of its own."""
        self.others += 1
        email = f"other{self._seed}-{self.others}@example.com"
        await patiently(lambda: _create(self.admin, email))
        async with AsyncClient(self.url, timeout_seconds=60) as client:
            login = await patiently(lambda: client.login(email, PASSWORD))
            result = await patiently(lambda: client.exec(login.session_id, ["echo", "new"]))
            assert result.stdout == "new\n"
            await patiently(lambda: _end(client, login.session_id))
        # Answered is written: no line waits in a process that may be the next to die.
        trail = {line.split(" ", 2)[2] for line in await patiently(self._read_trail)}
        assert f"login session/{login.session_id}" in trail

    # ---- what was promised ----------------------------------------------------------------------

    async def check(self) -> None:
        """Compare everything that was promised with what there is; since the last check only."""

        async def gated(worker: Worker) -> None:
            async with self._gate:
                await self._check(worker)

        await asyncio.gather(*map(gated, self.workers))
        await self._check_trail()

    async def _check(self, worker: Worker) -> None:
        assert worker.faults == []
        client, session_id = worker.client, worker.session_id
        await self._check_output(worker)
        ran = await patiently(lambda: client.read_file(session_id, "typed"))
        counts = Counter(int(number) for number in ran.split())
        for command in worker.typed:
            least = 1 if command.shown else 0
            count = counts.pop(command.number, 0)
            assert least <= count <= command.tries, (worker.email, command, count)
        assert not counts, f"nobody typed {counts}"
        for path, digest in worker.saved.items():
            data = await patiently(lambda path=path: client.read_file(session_id, path))
            assert hashlib.sha256(data).hexdigest() == digest, (worker.email, path)
        listed = await patiently(client.sessions)
        assert [session.session_id for session in listed] == [session_id]
        assert (await patiently(client.me)).email == worker.email

    async def _check_output(self, worker: Worker) -> None:
        begin = self._marks.get(worker.email, worker.first)
        shown = bytes(worker.transcript)
        end = worker.first + len(shown)
        terminal = await patiently(
            lambda: worker.client.terminal(
                worker.session_id, "main", offset=begin, timeout_seconds=60
            )
        )
        async with terminal:
            again = bytearray()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(again) < end - begin:
                    again += await terminal.read(PATIENCE_SECONDS)
            gaps = [event for event in terminal.events if event["type"] == "gap"]
            assert gaps == [], worker.email
        self._marks[worker.email] = end
        wanted = shown[begin - worker.first :]
        at = first_difference(bytes(again), wanted)
        context = slice(max(0, (at or 0) - 60), (at or 0) + 60)
        assert at is None, (
            f"{worker.email}: byte {begin + (at or 0)} of {begin} to {end} was shown in"
            f" {wanted[context]!r} and is now in {bytes(again[context])!r}"
        )

    async def _check_trail(self) -> None:
        """See that no line of the audit trail went, and that everybody's login is in it."""
        logins = {f"login session/{worker.session_id}" for worker in self.workers}
        trail = await wait_until(
            lambda: patiently(self._read_trail),
            lambda trail: logins <= {line.split(" ", 2)[2] for line in trail},
        )
        missing = self._trail - trail
        assert not missing, f"gone from the audit trail: {missing}"
        self._trail = trail

    async def _read_trail(self) -> Counter[str]:
        return Counter(
            f"{line['timestamp']} {line['user_id']} {line['action']} {line['resource']}"
            for line in await self.admin.audit(AUDIT_PAGE, action="login")
        )


def first_difference(ours: bytes, theirs: bytes) -> int | None:
    """Return where two byte strings differ first within the length of the shorter."""
    return next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)


async def _create(admin: AsyncClient, email: str) -> None:
    try:
        await admin.create_user(email, PASSWORD)
    except Conflict:
        return  # an answer that was lost: the account was made


async def _end(client: AsyncClient, session_id: str) -> None:
    try:
        await client.end_session(session_id)
    except NotFound:
        return
