"""Makes versions of a workspace out of what was seen to differ in it: reads paths, and commits them.

What its user's quota does not allow is held: it stays in the container's directory and is archived once
there is room (``held``). It is left out by its size, before anything of it is read. Small files are read in
batches, each within one of the user's turns; large ones beside them (``large_files``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from actors.core.errors.base import DeadlineExceeded, Unavailable
from actors.core.errors.limits import QuotaExceeded
from actors.core.errors.workspaces import ChunkMissing, ManifestMoved
from actors.core.quotas import Amount, Room, fit
from actors.core.records.archive import Kept, Reason, SaveAnswer
from actors.core.records.sessions import Route
from cluster.archive import diff as plan
from cluster.archive.restoring.restorer import Restorer
from cluster.archive.saving.ingest import READ_AT_ONCE, Ingest, Taken
from cluster.archive.saving.large_files import LargeFiles
from cluster.archive.saving.left_out import LeftOutPaths
from cluster.archive.saving.manifest_view import ManifestView, Reading
from cluster.archive.saving.quota_backlog import QuotaBacklog
from cluster.archive.tools import Counters, Tools
from cluster.store.layers import usage
from cluster.store.layers.entries import GONE, Entry, Kind
from cluster.store.layers.workspaces.manifests import Fence

COMMIT_CHANGES = 2000
TRIES = 8
UNSTEADY_TRIES = 3


class Versions:
    """The versions that one follower makes. ``route`` and ``restorer`` are set by it."""

    def __init__(self, tools: Tools, fence: Fence, user_id: str, counters: Counters) -> None:
        self.route: Route | None = None
        self.restorer: Restorer | None = None
        self.incarnation: str | None = None
        self.held = QuotaBacklog()
        self.left_out = LeftOutPaths()
        self.large = LargeFiles(self._read_large)
        self.known = ManifestView(tools, fence, counters, self._note_kept)
        self.turn = partial(tools.turns.turn, user_id)
        self.user_id = user_id
        self._fence = fence
        self._tools = tools
        self._counters = counters
        self._large_turn = partial(tools.large_turns.turn, user_id)
        self._intake = Ingest(
            tools.client, tools.blobs, fence.workspace_id, self.known.locate,
            monotonic=tools.clock.monotonic, new_id=tools.new_id, max_file=tools.max_file,
        )  # fmt: skip

    # ---- reading --------------------------------------------------------------------------------

    async def read(self, seen: Mapping[bytes, Entry]) -> None:
        """Read paths, the oldest mark first, and commit versions of them; large files come later."""
        small: dict[bytes, Entry] = {}
        large: dict[bytes, Entry] = {}
        for path, entry in seen.items():
            if self._intake.too_large(entry):
                self.left_out.note(path, Reason.TOO_LARGE, entry.size)
            elif entry.kind is Kind.FILE and entry.size > plan.SMALL_BYTES:
                large[path] = entry
            else:
                small[path] = entry
        left = list(small)
        tries = 0
        while left:
            batch, left = left[:READ_AT_ONCE], left[READ_AT_ONCE:]
            async with self.turn():
                again = await self._read_some({path: small[path] for path in batch}, tries)
            tries = tries + 1 if again else 0
            if tries >= TRIES:
                raise Unavailable("the workspace", "its files change faster than they can be read")
            left = again + left
        fits = await self._fitting(large, await self.known.current(list(large)))
        await self.large.add({path: large[path] for path in fits})

    async def _read_some(self, some: Mapping[bytes, Entry], tries: int) -> list[bytes]:
        """Read some small files and commit them; return which are to be read again."""
        with self.known.reading() as reading:
            # As it is by now: somebody may have saved them while the turn was waited for.
            known = await self.known.current(list(some))
            some = {p: entry for p, entry in some.items() if plan.differs(entry, known.get(p))}
            batch = await self._fitting(some, known)
            try:
                taken = await self._intake.take(self._route, batch)
                self._note_taken(taken)
                await self.large.add(taken.large)  # they have grown since
                again = await self._commit_taken(taken, known, reading)
            except ChunkMissing:
                return batch
        return again + self._unsteady(taken, tries)

    def _unsteady(self, taken: Taken, tries: int) -> list[bytes]:
        """Return which files are to be read again, as they have changed meanwhile.

        One that changes all the time is left as it is known: its next change is reported.
        """
        if tries < UNSTEADY_TRIES:
            return taken.unsteady
        for path in taken.unsteady:
            self.left_out.note(path, Reason.CHANGING)
        return []

    async def _read_large(self, files: Mapping[bytes, Entry]) -> None:
        """Read large files and commit a version of each."""
        for path in files:
            for tries in range(TRIES):
                with self.known.reading([path]) as reading:
                    known = await self.known.current([path])
                    taken = Taken()
                    try:
                        await self._intake.read_large(self._route, path, taken, self._large_turn)
                        self._note_taken(taken)
                        again = await self._commit_taken(taken, known, reading)
                    except ChunkMissing:
                        again = [path]
                if not again and not self._unsteady(taken, tries):
                    break

    async def _commit_taken(
        self, taken: Taken, known: Mapping[bytes, Entry], reading: Reading
    ) -> list[bytes]:
        """Commit what was read; return the paths that have to be read again."""
        opened = self.restorer.opened if self.restorer is not None else {}
        # A look that was older than the last version may find what that has already.
        changes = {
            path: entry
            for path, entry in taken.entries.items()
            if path not in opened
            and plan.differs(None if entry is GONE else entry, known.get(path))
        }
        for path, entry in taken.entries.items():
            before = known.get(path)
            if before is not None and before.kind is Kind.DIRECTORY != entry.kind:
                await self._drop_below(path)
        try:
            moved = await self._commit(changes, taken, reading)
        except QuotaExceeded:
            # Files grew since they were listed, or another session took the room.
            fits = set(await self._fitting(taken.entries, known))
            changes = {p: e for p, e in changes.items() if p in fits or p not in taken.entries}
            moved = await self._commit(changes, taken, reading)
        return [path for path in moved if path in taken.entries]

    # ---- what does not fit ----------------------------------------------------------------------

    async def _fitting(
        self, found: Mapping[bytes, Entry], known: Mapping[bytes, Entry]
    ) -> list[bytes]:
        """Return the paths that the user's quota allows; the others are held."""
        growths = {
            path: entry.amount.minus(known[path].amount if path in known else Amount())
            for path, entry in found.items()
        }
        if not any(growth.grows for growth in growths.values()):
            return list(found)
        room = await self.room()
        fitting = fit(growths, room)
        if fitting.lacks is not None:
            self.held.hold({path: growths[path] for path in fitting.held}, fitting.lacks, room)
        fits = set(fitting.fits)
        return [path for path in found if path in fits]

    async def room(self) -> Room:
        """Return what the workspace's user has and may have."""
        work = usage.room_of_session
        return await self.known.transact(work, self._fence.session_id, self._tools.quotas)

    # ---- what is gone ---------------------------------------------------------------------------

    async def drop(self, gone: Mapping[bytes, Entry]) -> None:
        """Note that paths are gone, with everything that was below them."""
        missing = self.restorer.missing if self.restorer is not None else ()
        left = {path: GONE for path in gone if path not in missing}
        for path in left:
            if gone[path].kind is Kind.DIRECTORY:
                await self._drop_below(path)
        await self._drop_these(left)

    async def _drop_below(self, directory: bytes, *, give_up: bool = False) -> None:
        """Note that everything below a directory is gone; without ``give_up`` but for what is yet missing."""
        missing = self.restorer.missing if self.restorer is not None and not give_up else ()
        changes: dict[bytes, Entry] = {}
        async for path, _ in self.known.below(directory):
            if path not in missing:
                changes[path] = GONE
            if len(changes) >= COMMIT_CHANGES:
                await self._drop_these(changes)
                changes = {}
        await self._drop_these(changes)

    async def _drop_these(self, changes: Mapping[bytes, Entry]) -> None:
        items = list(changes.items())
        for start in range(0, len(items), COMMIT_CHANGES):
            some = dict(items[start : start + COMMIT_CHANGES])
            async with self.turn():
                with self.known.reading() as reading:
                    await self._commit(some, Taken(), reading)
            self._counters.gone += len(some)

    # ---- saving ---------------------------------------------------------------------------------

    async def save(
        self, paths: Sequence[bytes], answer: SaveAnswer | None = None, *, give_up: bool = False
    ) -> Kept:
        """Take paths in at once; see ``WorkspaceSyncer.save``."""
        await self.known.open()
        wanted = list(dict.fromkeys(p for path in paths for p in (*plan.ancestors(path), path)))
        for _ in range(TRIES):
            with self.known.reading() as reading:
                known = await self.known.current(wanted)
                try:
                    taken = await self._take(wanted)
                    for path in taken.large:
                        await self._intake.read_large(self._route, path, taken, self._large_turn)
                    if taken.unsteady:
                        continue
                    self._note_taken(taken)
                    for path in paths if give_up else ():
                        if taken.entries.get(path) is GONE:
                            await self._drop_below(path, give_up=True)
                    version = await self._commit_save(taken, known, reading, paths, answer)
                except (ChunkMissing, ManifestMoved):
                    await self.known.open(fresh=True)
                    continue
            if version is not None:
                reasons = {path: reason for path, (reason, _) in taken.left_out.items()}
                return Kept(version, {path: reasons[path] for path in paths if path in reasons})
        raise DeadlineExceeded("save: the file changes all the time", float(TRIES))

    async def _take(self, wanted: Sequence[bytes]) -> Taken:
        """Read what is to be saved; its directories may be more than are read at once."""
        taken = Taken()
        for start in range(0, len(wanted), READ_AT_ONCE):
            some = wanted[start : start + READ_AT_ONCE]
            taken.add(await self._intake.take(self._route, some))
        return taken

    async def _commit_save(
        self,
        taken: Taken,
        known: dict[bytes, Entry],
        reading: Reading,
        paths: Sequence[bytes],
        answer: SaveAnswer | None,
    ) -> int | None:
        changes: dict[bytes, Entry] = {}
        same: dict[bytes, Entry] = {}
        if any(path in taken.left_out for path in paths):
            answer = (
                None  # the key stays with whoever began: there is nothing to give a receipt for
            )
        # No quota refuses a deletion: directories that are held stay so when what is in them goes.
        deletes = all(taken.entries.get(path) is GONE for path in paths)
        for path, entry in taken.entries.items():
            before = known.get(path)
            if deletes and before is None and path not in paths:
                continue
            # Noted even when nothing is there any more: what is saved has to get a version.
            saved = path in paths and (
                entry is not GONE or before is not None or answer is not None
            )
            if plan.differs(None if entry is GONE else entry, before):
                changes[path] = entry
            elif saved:
                same[path] = entry
            if before is not None and before.kind is Kind.DIRECTORY != entry.kind:
                await self._drop_below(path)
        if same and not changes and all(known.get(p) == entry for p, entry in same.items()):
            # A round was quicker. A second version of the same would not be in the history.
            return await self.known.answer(same, answer)
        changes |= same
        moved = await self._commit(changes, taken, reading, answer, whole=True)
        return None if moved else self.known.head.version

    async def commit(self, changes: dict[bytes, Entry], reading: Reading) -> None:
        """Commit what was put back, whose content is known."""
        await self._commit(changes, Taken(), reading)

    async def _commit(
        self,
        changes: dict[bytes, Entry],
        taken: Taken,
        reading: Reading,
        answer: SaveAnswer | None = None,
        *,
        whole: bool = False,
    ) -> list[bytes]:
        """Commit what was read or seen; see ``ManifestView.commit``."""
        return await self.known.commit(
            changes,
            taken.stored,
            reading,
            stored_at=taken.stored_at,
            answer=answer,
            whole=whole,
            incarnation=self.incarnation if self.restorer is None else None,
        )

    @property
    def _route(self) -> Route:
        assert self.route is not None
        return self.route

    def _note_taken(self, taken: Taken) -> None:
        self._counters.read_bytes += taken.read_bytes
        self._counters.new_bytes += taken.new_bytes
        self._counters.unsteady += len(taken.unsteady)
        self._counters.unreadable += len(taken.left_out)
        for path, (reason, size) in taken.left_out.items():
            self.left_out.note(path, reason, size)
        self.left_out.gone(
            path
            for path, entry in taken.entries.items()
            if entry is GONE and path not in taken.left_out
        )

    def _note_kept(self, kept: Mapping[bytes, Entry]) -> None:
        self.held.release(kept)
        # What is in a directory may be out of reach although it is kept itself.
        self.left_out.release(
            path for path, entry in kept.items() if entry.kind not in {Kind.DIRECTORY, Kind.GONE}
        )
