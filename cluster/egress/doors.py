"""A container's door: takes its listening socket in, and accepts from it what its programs connect.

Everything here touches descriptors that programs of the container share and may change at any moment: a
socket made blocking again makes accept(2) wait for ever, one that lingers makes close(2) wait. So each door
has a thread of its own, which does nothing else: what holds it up is that container's own way out. A socket
that comes out of accept(2) is shared with nobody, and loses here the options that it inherits.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from cluster.egress.doorway import SOCKET

_SO_PEERCRED = struct.Struct("3i")
_SO_TIMESTAMPING, _SO_NETNS_COOKIE, _IP_RECVERR, _IPV6_RECVERR = 37, 71, 11, 25
_CONTROLS = 4

Arrived = Callable[[socket.socket], None]


class Door:
    """One container's door. Methods are for one thread; ``arrived`` is called in the door's own.

    ``is_user`` says whether a user id, outside, may hand a socket over. No more than ``most`` connections are
    taken at once: the others wait in the listening socket. ``release`` makes room for one.
    """

    def __init__(
        self, directory: Path, *, arrived: Arrived, is_user: Callable[[int], bool], most: int
    ) -> None:
        """Raise OSError when there is no such directory."""
        self._arrived = arrived
        self._is_user = is_user
        self._room = most
        self._lock = threading.Lock()
        self._ending = self._gone = False
        self._inner: socket.socket | None = None
        self._callers: dict[socket.socket, socket.socket | None] = {}
        """Those who are connected, in the order in which they came, with what each has handed over."""
        self._wake_ours, self._wake = socket.socketpair()
        self._wake.setblocking(False)  # noqa: FBT003 - its name says it
        self._wake_ours.setblocking(False)  # noqa: FBT003 - its name says it
        try:
            self._door = _listen(directory)
        except OSError:
            self._wake.close()
            self._wake_ours.close()
            raise
        self._thread = threading.Thread(target=self._run, name="egress-door", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether a listening socket was handed over."""
        return self._inner is not None

    def release(self) -> None:
        """Make room for another connection."""
        with self._lock:
            self._room += 1
            full = self._room == 1
        if full:
            self._rouse()

    def close(self, *, gone: bool) -> None:
        """Close the door. Returns at once; ``gone``: the container has ended, and no other door follows."""
        self._ending, self._gone = True, gone
        inner = self._inner
        if gone and inner is not None:
            with contextlib.suppress(OSError):
                inner.shutdown(socket.SHUT_RDWR)  # ends an accept that waits
        self._rouse()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(seconds)

    def _rouse(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._ending:
                self._step()
        finally:
            lent = (*self._callers.values(), self._inner)
            self._inner = None
            for each in (self._door, self._wake_ours, self._wake, *self._callers, *lent):
                if each is not None:
                    each.close()

    def _step(self) -> None:
        poll, watched = select.poll(), {}
        watching = [self._wake_ours, self._door, *self._callers]
        if self._inner is not None and self._room > 0:
            watching.append(self._inner)
        for each in watching:
            watched[each.fileno()] = each
            poll.register(each, select.POLLIN)
        for descriptor, events in poll.poll():
            ready = watched[descriptor]
            if ready is self._wake_ours:
                with contextlib.suppress(OSError):
                    self._wake_ours.recv(4096)
            elif ready is self._door:
                self._greet()
            elif ready is self._inner:
                self._accept(ready, events)
            elif ready in self._callers:
                self._hear(ready)

    def _greet(self) -> None:
        """Let somebody of the container in who has a socket to hand over; the newest stay."""
        try:
            caller, _ = self._door.accept()
        except OSError:
            return
        caller.setblocking(False)  # noqa: FBT003 - its name says it
        raw = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _SO_PEERCRED.size)
        if not self._is_user(_SO_PEERCRED.unpack(raw)[1]):
            caller.close()
            return
        while len(self._callers) >= _CONTROLS:
            self._forget(next(iter(self._callers)))
        self._callers[caller] = None

    def _hear(self, caller: socket.socket) -> None:
        """Take a listening socket over, or see its owner off, who may only say one thing.

        The caller stays connected, and so learns when this end is gone. When the one who came last leaves,
        the socket of the one before is used again; without such a one, that one's own: CODI was killed.
        """
        listener = _received(caller) if self._callers[caller] is None else None
        if listener is None:
            self._forget(caller)
            return
        former = self._inner if self._inner not in self._callers.values() else None
        self._callers[caller] = self._inner = listener
        if former is not None:
            former.close()
        with contextlib.suppress(OSError):
            caller.send(b"\1")
        if self._ending:  # ``close`` may have missed it
            self.close(gone=self._gone)

    def _drop(self, inner: socket.socket) -> None:
        self._inner = None
        for caller, listener in list(self._callers.items()):
            if listener is inner:
                del self._callers[caller]
                caller.close()
        inner.close()

    def _forget(self, caller: socket.socket) -> None:
        listener = self._callers.pop(caller)
        caller.close()
        if listener is None:
            return
        if listener is self._inner:
            others = [each for each in self._callers.values() if each is not None]
            if not others:
                return
            self._inner = others[-1]
        listener.close()

    def _accept(self, inner: socket.socket, events: int) -> None:
        try:
            connection, _ = inner.accept()
        except BlockingIOError:
            return
        except OSError as error:
            lasting = error.errno in (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP, errno.ENOTSOCK)
            if lasting or events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                self._drop(inner)  # it listens no more
            elif error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                select.poll().poll(100)
            return
        try:
            _settle(connection)
        except OSError:
            connection.close()
            return
        with self._lock:
            self._room -= 1
        try:
            self._arrived(connection)
        except RuntimeError:  # the loop has ended, and this process with it
            self._ending = True
            connection.close()


def _listen(directory: Path) -> socket.socket:
    """Listen in a directory, whatever the length of its name (unix(7) has room for 108 bytes)."""
    opened = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        place = f"/proc/self/fd/{opened}/{SOCKET}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
        door.bind(place)
        os.chmod(place, 0o666)  # noqa: S103 - who connects is looked at
        door.listen(_CONTROLS)
        door.setblocking(False)  # noqa: FBT003 - its name says it
    except BaseException:
        door.close()
        raise
    finally:
        os.close(opened)
    return door


def _received(caller: socket.socket) -> socket.socket | None:
    """Return the listening socket that a message brings; what is anything else is closed."""
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    try:
        data, ancillary, _, _ = caller.recvmsg(16, socket.CMSG_LEN(4), flags)
    except OSError:
        return None
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) // 4 * 4])
    found: socket.socket | None = None
    for descriptor in descriptors:
        if found is None and data and _is_listener(descriptor):
            found = socket.socket(fileno=descriptor)
        else:
            os.close(descriptor)
    return found


def _is_listener(descriptor: int) -> bool:
    """Return whether it is a TCP socket that listens, and in another network than the server's."""
    level = socket.SOL_SOCKET
    try:
        with socket.socket(fileno=os.dup(descriptor)) as looked_at:
            wanted = (
                looked_at.getsockopt(level, socket.SO_DOMAIN) in (socket.AF_INET, socket.AF_INET6)
                and looked_at.getsockopt(level, socket.SO_TYPE) == socket.SOCK_STREAM
                and looked_at.getsockopt(level, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
                and looked_at.getsockopt(level, socket.SO_ACCEPTCONN) == 1
            )
            return wanted and _network(looked_at) not in _own_network()
    except OSError:
        return False


def _network(looked_at: socket.socket) -> bytes:
    return looked_at.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)


def _own_network() -> tuple[bytes, ...]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as own:
        return (_network(own),)


def _settle(connection: socket.socket) -> None:
    """Undo what a connection has inherited of its listener's options and could hold the gateway up."""
    connection.setblocking(False)  # noqa: FBT003 - its name says it
    level = socket.SOL_SOCKET
    connection.setsockopt(level, socket.SO_LINGER, struct.pack("ii", 0, 0))
    connection.setsockopt(level, socket.SO_RCVLOWAT, 1)
    connection.setsockopt(level, _SO_TIMESTAMPING, 0)
    if connection.family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 0)
    connection.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 0)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
