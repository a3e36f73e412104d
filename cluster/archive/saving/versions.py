"""Makes versions of a workspace: looks into paths, and commits what is found. ``round_plan`` decides.

What its user's quota does not allow is held: it stays in the container's directory and is archived once
there is room (``held``). It is left out by its size, before anything of it is read. Small files are read in
batches, each within one of the user's turns; large ones beside them (``large_files``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial

from actors.core.errors.base import DeadlineExceeded
from actors.core.errors.limits import QuotaExceeded
from actors.core.errors.workspaces import ChunkMissing, ManifestMoved
from actors.core.quotas import Room
from actors.core.records.archive import Kept, Reason, SaveAnswer
from actors.core.records.sessions import Route
from cluster.archive.diff import ancestors
from cluster.archive.look import Look
from cluster.archive.manifest_view import ManifestView
from cluster.archive.saving import round_plan
from cluster.archive.saving.ingest import Ingest, Turn
from cluster.archive.saving.large_files import LargeFiles
from cluster.archive.saving.left_out import LeftOutPaths
from cluster.archive.saving.quota_backlog import QuotaBacklog
from cluster.archive.saving.round_plan import READ_AT_ONCE, TRIES, Reads, Restoring, Taken
from cluster.archive.tools import Counters, Tools
from cluster.store.layers import usage
from cluster.store.layers.entries import GONE, Entry, Kind

COMMIT_CHANGES = 2000

Take = Callable[[Iterable[bytes]], Awaitable[Taken]]


class Versions:
    """The versions that one syncer makes. ``route`` is kept up to date by it."""

    def __init__(
        self,
        tools: Tools,
        route: Route,
        user_id: str,
        counters: Counters,
        known: ManifestView,
        restoring: Restoring,
    ) -> None:
        self.route = route
        self.held = QuotaBacklog()
        self.left_out = LeftOutPaths()
        self.turn = partial(tools.turns.turn, user_id)
        self._large_turn = partial(tools.large_turns.turn, user_id)
        self.large = LargeFiles(
            lambda files: self._read(Reads(files, 1), self._take_large, nullcontext)
        )
        self._known = known
        known.on_kept = self._note_kept
        self._restoring = restoring
        self._tools = tools
        self._counters = counters
        self._intake = Ingest(
            tools.client, tools.blobs, known.fence.workspace_id, known.locate,
            monotonic=tools.clock.monotonic, new_id=tools.new_id, max_file=tools.max_file,
        )  # fmt: skip

    # ---- reading --------------------------------------------------------------------------------

    async def read(self, seen: Mapping[bytes, Entry]) -> None:
        """Look into paths in order, and commit versions of them; large files come later."""
        small: dict[bytes, Entry] = {}
        large: dict[bytes, Entry] = {}
        for path, entry in seen.items():
            if self._intake.too_large(entry):
                self.left_out.note(path, Reason.TOO_LARGE, entry.size)
            else:
                (large if round_plan.is_large(entry) else small)[path] = entry
        await self._read(Reads(small), self._take, self.turn)
        with self._known.look(large) as look:
            known = await self._known.current(list(large))
            large = await self._fitting(large, known, look, self.left_out)
        self.left_out.met(await self.large.add(large))

    async def _read(self, reads: Reads, take: Take, turn: Turn) -> None:
        while batch := reads.batch():
            with ExitStack() as looks:
                async with turn():
                    look = looks.enter_context(self._known.look(batch))
                    notes = self.left_out.notes
                    known = await self._known.current(list(batch))
                    wanted = reads.wanted(batch, known)
                    taken = await take(await self._fitting(wanted, known, look, self.left_out))
                self._note_taken(taken, look, notes)
                self.left_out.met(await self.large.add(taken.large))  # they have grown since
                try:
                    again = await self._commit_taken(taken, known, look)
                except ChunkMissing:
                    again = list(batch)
            for path in reads.done(batch, again, taken.unsteady):
                self._leave_out(path, Reason.CHANGING, 0, look)

    async def _take(self, paths: Iterable[bytes]) -> Taken:
        """Read small files, and what else paths are."""
        taken, wanted = Taken(), list(paths)
        for start in range(0, len(wanted), READ_AT_ONCE):
            some = wanted[start : start + READ_AT_ONCE]
            taken.add(await self._intake.take(self.route, some))
        return taken

    async def _take_large(self, paths: Iterable[bytes]) -> Taken:
        """Read large files, a piece in each turn."""
        taken = Taken()
        for path in paths:
            await self._intake.read_large(self.route, path, taken, self._large_turn)
        return taken

    async def _commit_taken(
        self, taken: Taken, known: Mapping[bytes, Entry], look: Look
    ) -> list[bytes]:
        """Commit what was read; return the paths that have to be read again."""
        work = round_plan.of_round(taken, known, self._restoring)
        again = list(await self._known.settle(work.same, look))
        again += [path for each in work.emptied for path in await self._empty(each, look)]
        changes = work.changes
        async with self.turn():
            try:
                return again + await self._commit(changes, taken, look)
            except QuotaExceeded:
                # Files grew since they were listed, or another session took the room.
                changes = await self._fitting(changes, known, look)
                return again + await self._commit(changes, taken, look)

    async def _empty(self, directory: bytes, look: Look, *, give_up: bool = False) -> list[bytes]:
        """Commit that all below a directory is gone; return the paths that have to be read again.

        Without ``give_up`` what is yet to be put back stays.
        """
        again: list[bytes] = []
        changes: dict[bytes, Entry] = {}

        async def commit() -> None:
            async with self.turn():
                again.extend(await self._commit(changes, Taken(), look))
            changes.clear()

        # Innermost first: whatever is left when this is cut short is found again from above.
        async for path, _ in self._known.below(directory, innermost_first=True):
            if give_up or not self._restoring.awaits(path):
                changes[path] = GONE
            if len(changes) >= COMMIT_CHANGES:
                await commit()
        await commit()
        return again

    async def _fitting(
        self,
        found: dict[bytes, Entry],
        known: Mapping[bytes, Entry],
        look: Look,
        unread: Container[bytes] = (),
    ) -> dict[bytes, Entry]:
        """Return what the user's quota allows; the rest is held."""
        if not found:
            return found
        fits = round_plan.fitting(found, known, await self.room(), self.held, look, unread)
        self.left_out.release(path for path in found if path not in fits)
        return fits

    async def room(self) -> Room:
        """Return what the workspace's user has and may have."""
        work, session_id = usage.room_of_session, self._known.fence.session_id
        return await self._known.transact(work, session_id, self._tools.quotas)

    # ---- saving ---------------------------------------------------------------------------------

    async def save(
        self, paths: Sequence[bytes], answer: SaveAnswer | None = None, *, give_up: bool = False
    ) -> Kept:
        """Take paths in at once; see ``WorkspaceSyncer.save``."""
        await self._known.open()
        wanted = list(dict.fromkeys(p for path in paths for p in (*ancestors(path), path)))
        for _ in range(TRIES):
            with self._known.look(wanted) as look:
                notes = self.left_out.notes
                known = await self._known.current(wanted)
                try:
                    taken = await self._take(wanted)
                    taken.add(await self._take_large(taken.large))
                    if taken.unsteady:
                        continue
                    self._note_taken(taken, look, notes)
                    given_up = [p for p in paths if give_up and taken.entries.get(p) is GONE]
                    for path in given_up:
                        await self._empty(path, look, give_up=True)
                    version = await self._commit_save(taken, known, look, paths, given_up, answer)
                except (ChunkMissing, ManifestMoved):
                    await self._known.open(fresh=True)
                    continue
            if version is not None:
                reasons = {path: reason for path, (reason, _) in taken.left_out.items()}
                return Kept(version, {path: reasons[path] for path in paths if path in reasons})
        raise DeadlineExceeded("save: the file changes all the time", float(TRIES))

    async def _commit_save(
        self,
        taken: Taken,
        known: Mapping[bytes, Entry],
        look: Look,
        paths: Sequence[bytes],
        given_up: Sequence[bytes],
        answer: SaveAnswer | None,
    ) -> int | None:
        if any(path in taken.left_out for path in paths):
            # The key stays with whoever began: there is nothing to give a receipt for.
            answer = None
        is_answered = answer is not None
        work = round_plan.of_save(
            taken, known, paths, self._restoring, is_answered=is_answered, given_up=given_up
        )
        for directory in work.emptied:
            if await self._empty(directory, look):
                return None
        same, unchanged = work.same, round_plan.unchanged(taken, known)
        if same and not work.changes and all(known.get(p) == entry for p, entry in same.items()):
            # A round was quicker. A second version of the same would not be in the history.
            if await self._known.settle(unchanged, look):
                return None
            return await self._known.answer(same, answer)
        changes = work.changes | same
        moved = await self._commit(changes, taken, look, answer, whole=True)
        if moved or any(path in look.others and path not in changes for path in paths):
            return None
        self._known.note(unchanged, look)  # also that nothing is there
        return self._known.head.version

    async def _commit(
        self,
        changes: dict[bytes, Entry],
        taken: Taken,
        look: Look,
        answer: SaveAnswer | None = None,
        *,
        whole: bool = False,
    ) -> list[bytes]:
        """Commit what was read or seen; see ``ManifestView.commit``."""
        return await self._known.commit(
            changes,
            taken.stored,
            look,
            stored_at=taken.stored_at,
            answer=answer,
            whole=whole,
            incarnation=self._restoring.complete_incarnation,
        )

    def _note_taken(self, taken: Taken, look: Look, notes: int) -> None:
        self._counters.read_bytes += taken.read_bytes
        self._counters.new_bytes += taken.new_bytes
        self._counters.unsteady += len(taken.unsteady)
        self._counters.unreadable += len(taken.left_out)
        for path, (reason, size) in taken.left_out.items():
            self._leave_out(path, reason, size, look)
        gone = [p for p, e in taken.entries.items() if e is GONE and p not in taken.left_out]
        reasons = {path: reason for path, (reason, _) in taken.left_out.items()}
        closed = {p for p, e in taken.entries.items() if round_plan.is_closed(e, reasons.get(p))}
        self.left_out.gone(gone, notes, closed=closed)

    def _leave_out(self, path: bytes, reason: Reason, size: int, look: Look) -> None:
        """Note why a path is not kept, unless somebody else has committed it meanwhile."""
        if path not in look.others:
            self.left_out.note(path, reason, size)
            self.held.release([path])

    def _note_kept(self, kept: Mapping[bytes, Entry]) -> None:
        """Take note of a version: what it has is not left out any more."""
        self.held.release(kept)
        self._counters.gone += sum(entry.kind is Kind.GONE for entry in kept.values())
        # What is in a directory may be out of reach although it is kept itself.
        self.left_out.release(
            path for path, entry in kept.items() if entry.kind not in {Kind.DIRECTORY, Kind.GONE}
        )
