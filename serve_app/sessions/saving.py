"""Saves of files, and other changes of a workspace, that are answered when they are durable.

The container writes the file; the node's ArchiveActor takes it in and commits a version; only then is
the receipt given, and remembered under the caller's idempotency key in the same transaction. Of two
saves under one key one waits for the other. When whoever began a save has died, the next one under its
key may find the file written already: a condition that does not hold any more is then no refusal if the
file has the very content that is to be saved.

What a user's quota does not allow is refused before anything is written; when others take the room
meanwhile, the file is in the workspace, and the error says that it is not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from actors.core.calls import ArchiveCalls
from actors.core.errors.access import PermissionDenied
from actors.core.errors.base import Busy, CoditectError, DeadlineExceeded, Unavailable, Unreached
from actors.core.errors.limits import QuotaExceeded, WorkspaceFull
from actors.core.errors.requests import (
    InvalidArgument,
    KeyReused,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
)
from actors.core.errors.sessions import Fenced
from actors.core.quotas import Amount, Resource
from actors.core.records.archive import Kept, Receipt, SaveAnswer
from actors.core.records.sessions import Route
from cluster.store.layers.workspaces.saves import LEASE_SECONDS, Begun, Turn, place_of
from serve_app.dependencies import Dependencies
from serve_app.sessions.gateway import SessionGateway

ARCHIVE_SECONDS = 120.0
DELETION_SECONDS = 2.0
FLUSH_SECONDS = 600.0
WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.2
_NOT_CARRIED_OUT = (
    Fenced, InvalidArgument, NotFound, PayloadTooLarge, PermissionDenied, PreconditionFailed,
    Unreached, WorkspaceFull,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions on the file (RFC 9110, 13.1), and the mode that it gets, if not its own."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_unmodified_since: str | None = None
    mode: int | None = None


class Hashed:
    """A body on its way: bounded, and hashed as it passes."""

    def __init__(self, stream: AsyncIterator[bytes], limit: int, kind: str = "file") -> None:
        self._stream = stream
        self._limit = limit
        self._refusal: CoditectError = PayloadTooLarge(kind, limit)
        self._hash = blake3()
        self.size = 0

    def bound(self, limit: int, refusal: CoditectError) -> None:
        """Let it have fewer bytes than it may; ``refusal`` is raised for one byte more."""
        if limit < self._limit:
            self._limit, self._refusal = limit, refusal

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body. Raises PayloadTooLarge, or what it was bound with."""
        async for part in self._stream:
            self.size += len(part)
            if self.size > self._limit:
                raise self._refusal
            if part:
                self._hash.update(part)
                yield part

    async def digest(self) -> str:
        """Return the hash of the whole body, reading what nobody has read."""
        async for _ in self.parts():
            pass
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What became of an archive: entries made, their bytes, and what was not made, with reasons."""

    version: int
    made: int
    bytes: int
    failed: list[tuple[str, str]]
    more_failed: int


class Saver:
    """Saves for one replica of the ingress."""

    def __init__(self, deps: Dependencies, gateway: SessionGateway) -> None:
        self._deps = deps
        self._gateway = gateway

    async def save(
        self,
        session_id: str,
        path: str,
        body: Hashed,
        conditions: Conditions,
        *,
        key: str | None,
        length: int | None,
    ) -> Receipt:
        """Save a file and return its receipt, durable; the same key again returns the same.

        Of what is not archived, as its name is excluded or its permissions hide it, the receipt says so.
        Raises KeyReused for a key that was another save's, Busy when that one is still under way,
        QuotaExceeded when it is more than the session's user may have.
        """
        if key is None:
            return await self._carry_out(session_id, path, body, conditions, length, None)
        place, token = place_of(session_id, key), self._deps.new_id("t")
        begun = await self._begin(place, token, path)
        if begun.turn is Turn.DONE:
            assert begun.receipt is not None
            digest = await body.digest()
            if (begun.path, begun.digest) != (path, digest):
                raise KeyReused(f"{begun.path!r} with {begun.receipt.size} bytes")
            return begun.receipt
        renewing = asyncio.create_task(self._renew(place, token, path), name="lease of a save")
        try:
            return await self._carry_out(
                session_id, path, body, conditions, length, (place, token, begun)
            )
        except _NOT_CARRIED_OUT:
            await self._deps.ledger.abandon_save(place, token)
            raise
        except QuotaExceeded as error:
            if not error.unkept:
                await self._deps.ledger.abandon_save(place, token)
            raise
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def keep(self, session_id: str, paths: Sequence[str]) -> int:
        """Have changes of paths taken in; return the version that has them, durable."""
        route = await self._gateway.awake_route(session_id)
        return (await self._archive(session_id, paths, None, route)).version

    async def unpack(
        self, session_id: str, path: str, body: Hashed, *, length: int | None
    ) -> Unpacked:
        """Unpack a tar stream below a directory; return what was made, durable, and what was not.

        Raises QuotaExceeded when it is more than the user may have: what fits was unpacked, then.
        """
        route = await self._gateway.awake_route(session_id)
        try:
            found = await self._deps.codi.put_archive(route, path, body.parts(), length=length)
        except (Unreached, Fenced) as error:
            if body.size:
                raise
            route = await self._gateway.newer_route(session_id, route, error)
            found = await self._deps.codi.put_archive(route, path, body.parts(), length=length)
        # All that lies there by now: which paths those are may be very many.
        await self._flush(session_id, route)
        last, version = str(found.pop("last")) or path, 0
        if last:
            version = (await self._archive(session_id, [last], None, route)).version
        self._deps.events.publish(session_id, "saved", {"path": path, "version": version})
        return Unpacked(version=version, **found)

    async def _flush(self, session_id: str, route: Route) -> None:
        """Wait until all that is in the workspace is kept. One that has just begun is not followed yet."""
        clock, name = self._deps.clock, self._gateway.archive_actor(route)
        deadline = clock.monotonic() + FLUSH_SECONDS
        while True:
            left = deadline - clock.monotonic()
            try:
                await self._deps.actors.call(name, ArchiveCalls.flush, max(left, 0.1), session_id)
            except DeadlineExceeded:
                raise
            except Unavailable:
                if left <= _POLL_SECONDS:
                    raise
                await clock.sleep(_POLL_SECONDS)
            else:
                return

    async def keep_deletion(self, session_id: str, path: str, *, give_up: bool) -> None:
        """Have it taken in that a path is gone, with all below it.

        ``give_up``: also what was not put back yet. Without, the archive is waited for a moment only: it
        sees by itself what is gone, and a directory may hold very much.
        """
        route = await self._gateway.awake_route(session_id)
        if give_up:
            await self._archive(session_id, [path], None, route, give_up=True)
            return
        with contextlib.suppress(CoditectError):
            await self._archive(session_id, [path], None, route, seconds=DELETION_SECONDS)

    async def _begin(self, place: str, token: str, path: str) -> Begun:
        deadline = self._deps.clock.monotonic() + WAIT_SECONDS
        while True:
            begun = await self._deps.ledger.begin_save(place, token, path)
            if begun.turn is not Turn.WAIT:
                return begun
            if begun.path != path:
                raise KeyReused(repr(begun.path))
            if self._deps.clock.monotonic() >= deadline:
                raise Busy("a save under this idempotency key is under way", 5.0)
            await self._deps.clock.sleep(_POLL_SECONDS)

    async def _renew(self, place: str, token: str, path: str) -> None:
        while True:
            await self._deps.clock.sleep(LEASE_SECONDS / 3)
            with contextlib.suppress(CoditectError):
                await self._deps.ledger.begin_save(place, token, path)

    async def _carry_out(
        self,
        session_id: str,
        path: str,
        body: Hashed,
        conditions: Conditions,
        length: int | None,
        keyed: tuple[str, str, Begun] | None,
    ) -> Receipt:
        await self._bound(session_id, path, body, length)
        # The body can be read once only: when some of it was read, this is not tried on another container.
        route = await self._gateway.awake_route(session_id)
        try:
            try:
                saved = await self._put(route, path, body, conditions, length)
            except (Unreached, Fenced) as error:
                if body.size:
                    raise
                route = await self._gateway.newer_route(session_id, route, error)
                saved = await self._put(route, path, body, conditions, length)
            etag, size, stored = str(saved["etag"]), int(saved["size"]), str(saved["stored"])
        except PreconditionFailed:
            if keyed is None or keyed[2].turn is not Turn.AGAIN:
                raise
            found = await self._written_before(session_id, path, await body.digest())
            if found is None:
                raise
            etag, size, stored = found, body.size, path
        answer = None
        if keyed is not None:
            digest = await body.digest()
            answer = SaveAnswer(keyed[0], keyed[1], path, size, etag, digest)
        try:
            kept = await self._archive(session_id, [stored], answer, route)
        except QuotaExceeded as error:
            error.unkept = True
            raise
        # One path was asked for.
        reason = next(iter(kept.left_out.values()), None)
        receipt = Receipt(
            path=path,
            size=size,
            version=kept.version,
            etag=etag,
            durable=reason is None,
            reason=reason,
        )
        data = {"path": path, "version": kept.version, "size": size}
        self._deps.events.publish(session_id, "saved", data)
        return receipt

    async def _put(
        self,
        route: Route,
        path: str,
        body: Hashed,
        conditions: Conditions,
        length: int | None,
    ) -> dict[str, Any]:
        return await self._deps.codi.put_file(
            route,
            path,
            body.parts(),
            if_match=conditions.if_match,
            if_none_match=conditions.if_none_match,
            if_unmodified_since=conditions.if_unmodified_since,
            length=length,
            mode=conditions.mode,
        )

    async def _bound(self, session_id: str, path: str, body: Hashed, length: int | None) -> None:
        """Bound a body by what its user may have. Raises QuotaExceeded when its length already shows it."""
        quotas = self._deps.settings.quotas
        had, room = await self._deps.ledger.place_for(session_id, path, quotas)
        lacking = room.lacking(Amount(0, 1 - had.files))
        if lacking is not None:
            raise QuotaExceeded(lacking.value, room.files.used, room.files.limit or 0, 1)
        used, limit = room.size
        if limit is None:
            return
        most = had.size + max(0, limit - used)
        size = max(length or 0, most + 1)
        refusal = QuotaExceeded(Resource.FILE_BYTES.value, used, limit, size - had.size)
        if length is not None and length > most:
            raise refusal
        body.bound(most, refusal)

    async def _written_before(self, session_id: str, path: str, digest: str) -> str | None:
        """Return the file's etag if its content is that of the body; None if it is not."""
        route = await self._gateway.awake_route(session_id)
        found = blake3()
        try:
            async with self._deps.codi.get_file(route, path) as answer:
                async for part in answer.content:
                    found.update(part)
                return answer.headers.get("etag") if found.hexdigest() == digest else None
        except NotFound:
            return None

    async def _archive(
        self,
        session_id: str,
        paths: Sequence[str],
        answer: SaveAnswer | None,
        route: Route,
        *,
        give_up: bool = False,
        seconds: float = ARCHIVE_SECONDS,
    ) -> Kept:
        """Ask the ArchiveActor. It is waited for, and so is a container that is being replaced.

        What was saved lies in the workspace by now, on the disk of the route's node. Raises Unavailable
        when the session has gone on at another node: what lies there is not what was saved.
        """
        deps = self._deps
        deadline = deps.clock.monotonic() + seconds
        name = self._gateway.archive_actor(route)
        while True:
            left = deadline - deps.clock.monotonic()
            try:
                kept = await deps.actors.call(
                    name,
                    ArchiveCalls.save,
                    max(left, 0.1),
                    session_id,
                    list(paths),
                    answer,
                    give_up,
                )
            except DeadlineExceeded:
                raise
            except Unavailable:
                if left <= _POLL_SECONDS:
                    raise
                if self._gateway.archive_actor(await self._gateway.awake_route(session_id)) != name:
                    raise
                await deps.clock.sleep(_POLL_SECONDS)
            else:
                return kept
