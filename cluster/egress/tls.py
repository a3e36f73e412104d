"""TLS over a wire, either side of it, without a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from cluster.egress.wire import IDLE_SECONDS, PIECE, Wire

HANDSHAKE_SECONDS = 30.0
_RECORDS = 128 << 10


def upstream_context() -> ssl.SSLContext:
    """Return how servers are checked: by this machine's authorities, and by their names."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsWire:
    """A ``Stream`` of what is said in TLS over a wire. Call ``handshake`` first.

    ``host`` is whose certificate a server has to have, and the name that it is asked for by.
    """

    def __init__(
        self,
        wire: Wire,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        host: str | None = None,
    ) -> None:
        self.socket = wire.socket
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=host
        )
        self._sending = asyncio.Lock()
        self._broken: OSError | None = None

    async def handshake(self, early: bytes = b"") -> None:
        """Agree on keys; ``early`` has come before. Raises OSError (ssl.SSLError), TimeoutError."""
        self._incoming.write(early)
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._flush(None)
                    await self._fill(None)
                except ssl.SSLError:
                    with contextlib.suppress(OSError):
                        await self._flush(None)  # the other side hears why
                    raise
                else:
                    await self._flush(None)
                    return

    async def read(self, seconds: float | None = IDLE_SECONDS) -> bytes:
        """Return what has come; nothing at the end. Raises OSError, also for an end without a farewell."""
        async with asyncio.timeout(seconds):
            while (found := await self._opened()) is None:
                await self._flush(None)
                await self._fill(None)
            return found

    async def watch(self) -> bytes:
        """Return what comes next as ``read`` does, however long that takes; cancelled, it loses nothing."""
        while True:
            found, ended = self._record(PIECE)
            if found or ended:
                return found
            await self._flush(None)
            self._feed(await self._wire.watch())

    async def write(self, data: bytes, seconds: float | None = IDLE_SECONDS) -> None:
        """Send all of it. Raises OSError, TimeoutError."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise ConnectionAbortedError(f"TLS ended: {error.reason}") from None
        await self._flush(seconds)

    async def pause(self) -> None:
        """Let other sessions have their turns, if this one has had the processor for long."""
        await self._wire.pause()

    def is_quiet(self) -> bool:
        """Return whether nothing waits to be read, not even the end. What waits is lost.

        A server's tickets are nothing: they come when they come (RFC 8446, 4.6.1).
        """
        try:
            data = self.socket.recv(PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError:
            return False
        else:
            if not data:
                return False
            self._incoming.write(data)
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLError:
            return False
        return False

    async def linger(self) -> None:
        """Say farewell, and let the last answer arrive though the other side still sends."""
        await self.farewell()
        await self._wire.linger()

    async def farewell(self) -> None:
        """Say that nothing is to come any more, so that an end is no cut."""
        with contextlib.suppress(OSError, TimeoutError):
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # which would wait for the other side's
            await self._flush(1.0)

    async def _opened(self) -> bytes | None:
        """Return what records that have come hold, at the end nothing; None when more have to come.

        All of them up to a piece, for a record may hold a byte; the others have their turns meanwhile.
        """
        found = bytearray()
        while len(found) < PIECE:
            try:
                data, ended = self._record(PIECE - len(found))
            except OSError as error:
                if not found:
                    raise
                self._broken = error  # what came before goes first
                break
            if ended:
                break
            if not data:
                return bytes(found) or None
            found += data
            await self.pause()
        return bytes(found)

    def _record(self, size: int) -> tuple[bytes, bool]:
        """Return what is opened next, and whether that is the end; nothing when more has to come."""
        if self._broken is not None:
            raise self._broken
        try:
            data = self._tls.read(size)
        except ssl.SSLWantReadError:
            return b"", False
        except ssl.SSLZeroReturnError:
            return b"", True
        except ssl.SSLError as error:
            raise ConnectionAbortedError(f"TLS ended: {error.reason}") from None
        return data, not data

    async def _fill(self, seconds: float | None) -> None:
        self._feed(await self._wire.read(seconds))

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self, seconds: float | None) -> None:
        """Send what is to be sent: by one at a time, since pieces of two would mix."""
        async with self._sending:
            while self._outgoing.pending:
                await self._wire.write(self._outgoing.read(_RECORDS), seconds)
