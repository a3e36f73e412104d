"""A node that joins a server's head, in the foreground: up, watched, down.

This process asks the head for what it needs, starts a raylet, and says in the store that the node is there;
the Supervisor makes the node's actors. A node that Ray has given up, or whose head was away for long, joins
anew, and its containers run on meanwhile. It leaves when it is told to end, or when it has been emptied.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from actors.core.errors.base import CoditectError, DeadlineExceeded, Unavailable
from actors.core.errors.requests import InvalidArgument
from actors.core.records.nodes import NodeRecord, NodeState
from cluster import belonging, secret_settings
from cluster.bringup import leftovers
from cluster.bringup.head import RayMember
from cluster.bringup.progress import Progress
from cluster.bringup.server import Ready, Server
from cluster.membership import credentials, version
from cluster.settings import Settings, parse_labels, parse_place
from cluster.store.factory import head_engine
from cluster.store.layers.nodes import NodeStore
from cluster.store.remote.head_engine import greet
from cluster.store.remote.server import REFUSED, TAKEN

logger = logging.getLogger(__name__)

READY_SECONDS = 180.0
READY_PAUSE = 0.25
LEAVE_SECONDS = 5.0
LOOK_SECONDS = 1.0
PAUSE_SECONDS = 5.0
TAKEN_TRIES = 8
TWICE = "one of them has a copy of the other's data directory; remove node-id in it"


class JoinedServer(Server):
    """Runs one node until a signal. ``settings`` are its own; all others come from the head."""

    def __init__(
        self,
        settings: Settings,
        *,
        conductor: str,
        api: str,
        progress: Progress,
        token: Path | None,
    ) -> None:
        assert settings.head is not None
        super().__init__(settings, conductor=conductor, api=api, progress=progress)
        self._own = self._settings
        self._token = token
        self._ray_node_id: str | None = None
        self._record: NodeRecord | None = None
        self._failure: Unavailable | None = None
        self._is_drained = False

    def _serve(self) -> None:
        """Be the head's node until a signal, or until the node is empty; join anew when it was lost."""
        self._keep_token()
        try:
            while not self._end.is_set():
                try:
                    self._say_joined(self._up())
                    self._found = None
                    self._starting = False
                    with self._watched_membership():
                        self._watch()
                except (CoditectError, OSError) as error:  # of the store, too: no head for a moment
                    if self._found is not None:
                        raise
                    self._starting = True
                    self._progress.note(
                        f"[yellow]{error}; joining again, containers run on[/yellow]"
                    )
                    self._stop_head()
                    self._end.wait(PAUSE_SECONDS)
            if self._failure is not None:
                raise self._failure
        finally:
            self._starting = False
            if self._ray_node_id is not None:
                with suppress(CoditectError, OSError):  # TimeoutError is an OSError
                    asyncio.run(self._leave(self._ray_node_id))
            if (
                self._is_drained
            ):  # what lets it in everywhere is not left on a machine that is given away
                credentials.node_file(self._layout.data_dir).unlink(missing_ok=True)

    def _keep_token(self) -> None:
        """Have the file by which nodes join in this node's own data directory. Raises InvalidArgument."""
        kept = credentials.node_file(self._layout.data_dir)
        if self._token is not None:
            text = credentials.read_token(self._token)
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            credentials.write(kept, text)
        elif not kept.exists():
            raise InvalidArgument(
                "--token-file", "a copy of cluster/node-token.pem in the head's data directory"
            )

    # ---- up -----------------------------------------------------------------------------------

    def _up(self) -> Ready:
        with self._progress.step("head"):
            answer = self._greet()
        open_files = self._prepare()
        settings, layout = self._settings, self._layout
        layout.write_token(str(answer["ray_token"]))
        ports = self._set_environment(open_files)
        self._head = joined = RayMember(
            settings, layout, ports, [self._conductor], gcs_address=str(answer["gcs_address"])
        )
        with self._progress.step("ray node"):
            joined.prepare()
            asyncio.run(self._see_the_same_contents())
            joined.start()
            self._ray_node_id = joined.ray_node_id
        leftovers.record(layout.data_dir)
        with self._progress.step("actors"):
            asyncio.run(self._enrol(joined.ray_node_id))
        return Ready("", "", "", None, self._progress.seconds)

    def _greet(self) -> dict[str, Any]:
        """Ask the head for its settings, and put this node's own over them. Raises Unavailable."""
        assert self._own.head is not None
        place = parse_place(self._own.head)
        context = credentials.node_context(self._layout.data_dir)
        node_id = self._layout.node_id()
        greeting = {"version": version.own(), "joins": True, "node_id": node_id}

        async def ask() -> dict[str, Any]:
            link, answer = await greet(
                place, context, name=credentials.HEAD_NAME, greeting=greeting
            )
            link.abort()
            return answer

        answer = asyncio.run(ask())
        for _ in range(TAKEN_TRIES):  # after a crash of this node Ray takes a moment to notice
            if answer.get(REFUSED) != TAKEN or self._end.wait(1.0):
                break
            answer = asyncio.run(ask())
        if REFUSED in answer:
            raise Unavailable("head", f"it refuses this node: {answer[REFUSED]}")
        own = {name: getattr(self._own, name) for name in self._own.model_fields_set}
        if self._own.ray_address == "127.0.0.1":
            own["node_address"] = _address_towards(place)
        try:
            self._settings = Settings.model_validate(
                # Backups are of the whole store, and the head's. People come in at the head.
                answer["settings"]
                | {"backup_interval": 0.0, "port": 0}
                | own
                | {"secret_key": SecretStr(answer["secret_key"])}
            )
        except ValidationError as error:
            raise Unavailable("head", f"its settings do not fit here: {error}") from error
        return answer

    async def _see_the_same_contents(self) -> None:
        """See that the chunk store is the head's. Raises Unavailable."""
        engine = head_engine(self._settings)
        try:
            if (reason := await belonging.misplaced_contents(engine, self._settings)) is not None:
                raise Unavailable("chunk store", reason)
        finally:
            await engine.close()

    async def _enrol(self, ray_node_id: str) -> None:
        """Say that the node is there, and return when its actors are. Raises DeadlineExceeded."""
        settings, node_id = self._settings, self._layout.node_id()
        engine = head_engine(settings)
        nodes = NodeStore(engine, settings.tenant)
        record = NodeRecord(
            node_id=node_id,
            ray_node_id=ray_node_id,
            address=settings.ray_address,
            version=version.own(),
            labels=parse_labels(settings.node_labels),
            settings=secret_settings.without(settings).model_dump(mode="json"),
            joined_at=time.time(),
        )
        self._record = record
        deadline = time.monotonic() + READY_SECONDS
        try:
            await nodes.join(record, again=self._found is None)
            while (known := await nodes.node(node_id)) is None or known.ready_at is None:
                if time.monotonic() > deadline:
                    raise DeadlineExceeded("the node's actors", READY_SECONDS)
                await asyncio.sleep(READY_PAUSE)
        finally:
            await engine.close()

    def _say_joined(self, ready: Ready) -> None:
        note = self._progress.note
        note("")
        note(
            f"[bold green]ready[/bold green] after {ready.seconds:.1f} s as node"
            f" [bold]{self._layout.node_id()}[/bold] of {self._own.head}"
        )
        note(f"`coditect drain {self._layout.node_id()}` moves its sessions away and ends it;")
        note("Ctrl-C ends it at once")

    # ---- watch --------------------------------------------------------------------------------

    @contextmanager
    def _watched_membership(self) -> Iterator[None]:
        """Have this node end once it has been emptied."""
        over = threading.Event()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._watch_membership(over)),
            name="membership",
            daemon=True,
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(LEAVE_SECONDS)

    async def _watch_membership(self, over: threading.Event) -> None:
        assert self._record is not None
        record = self._record
        engine = head_engine(self._settings)
        nodes = NodeStore(engine, self._settings.tenant)
        try:
            while not over.wait(0):
                with suppress(CoditectError):  # the head is away
                    known = await nodes.node(self._layout.node_id())
                    if known is None:  # it was away for so long that it has been forgotten
                        await nodes.join(record)
                    elif known.ray_node_id != record.ray_node_id:
                        self._failure = Unavailable(
                            "node", f"another machine has joined as {record.node_id}: {TWICE}"
                        )
                        self._end.set()
                        return
                    elif known.state is NodeState.DRAINED:
                        self._progress.note("this node is empty, and leaves")
                        self._is_drained = True
                        self._end.set()
                        return
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await engine.close()

    async def _leave(self, ray_node_id: str) -> None:
        engine = head_engine(self._settings)
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                nodes = NodeStore(engine, self._settings.tenant)
                await nodes.leave(self._layout.node_id(), ray_node_id)
        finally:
            await engine.close()


def _address_towards(place: tuple[str, int]) -> str:
    """Return this machine's address in the network where another one is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(place)
        return str(probe.getsockname()[0])
