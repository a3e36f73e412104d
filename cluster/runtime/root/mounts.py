"""Linux's calls that make and change mounts by descriptor, which the standard library lacks.

See open_tree(2), move_mount(2), fsopen(2), fspick(2), mount_setattr(2) and setns(2). The numbers of
the calls are the same on every architecture. All of them need root and raise OSError; an old kernel
answers ENOSYS or EINVAL.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _FSPICK = 428, 429, 430, 431, 432, 433
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_CLONE_TREE, _CLOSE_ON_EXEC = 1, os.O_CLOEXEC
_FROM_EMPTY_PATH = 4
_SET_FLAG, _SET_STRING, _CREATE, _RECONFIGURE = 0, 1, 6, 7
_NO_SET_UID, _NO_DEVICES, _ID_MAPPED = 0x2, 0x4, 0x100000
_CLONE_FS = 0x200
_NAMESPACES = {"ipc": 0x08000000, "mnt": 0x00020000}

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def clone(path: str) -> int:
    """Return a descriptor of a new mount of a directory that is nowhere in the tree. The caller closes it."""
    return _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _CLONE_TREE | _CLOSE_ON_EXEC)


def mount(kind: str, source: str, options: Mapping[str, str | None]) -> int:
    """Mount a file system nowhere, and return the mount's descriptor. The caller closes it.

    An option whose value is None is a flag. The mount ends with its last user, a descriptor or a
    mount namespace, whoever of them dies.
    """
    context = _call(_FSOPEN, kind.encode(), 1)
    try:
        _set(context, {"source": source, **options})
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
        return _call(_FSMOUNT, context, 1, 0)
    finally:
        os.close(context)


def guard(tree: int, user_namespace: int | None) -> None:
    """Let nothing on a new mount be a device or give another user's rights; map the owners of its files.

    ``user_namespace`` (a descriptor) maps the ids on disk to those that processes see.
    """
    attributes = _Attributes(set=_NO_SET_UID | _NO_DEVICES)
    if user_namespace is not None:
        attributes.set |= _ID_MAPPED
        attributes.user_namespace = user_namespace
    size = ctypes.sizeof(attributes)
    _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)


def attach(tree: int, path: str) -> None:
    """Show a new mount at a path of this thread's mount namespace."""
    _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _FROM_EMPTY_PATH)


def reconfigure(path: str, options: Mapping[str, str | None]) -> None:
    """Change the options of the file system that is mounted at ``path``; flags of the mount stay."""
    context = _call(_FSPICK, _AT_FDCWD, os.fsencode(path), 1)
    try:
        _set(context, options)
        _call(_FSCONFIG, context, _RECONFIGURE, None, None, 0)
    finally:
        os.close(context)


def within(pid: int, namespaces: Iterable[str], work: Callable[[], T]) -> T:
    """Do ``work`` in namespaces (``ipc``, ``mnt``) of a process; return what it returns, or raise its error.

    In a thread of its own, since threads may have namespaces of their own and this one goes with it.
    """
    opened = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in namespaces}
    outcome: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            _checked(_libc.unshare(_CLONE_FS))  # a shared root and working directory cannot move
            for name, descriptor in opened.items():
                _checked(_libc.setns(descriptor, _NAMESPACES[name]))
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            errors.append(error)

    thread = threading.Thread(target=enter, name=f"within-{pid}")
    try:
        thread.start()
        thread.join()
    finally:
        for descriptor in opened.values():
            os.close(descriptor)
    if errors:
        raise errors[0]
    return outcome[0]


def _set(context: int, options: Mapping[str, str | None]) -> None:
    for name, value in options.items():
        if value is None:
            _call(_FSCONFIG, context, _SET_FLAG, name.encode(), None, 0)
        else:
            _call(_FSCONFIG, context, _SET_STRING, name.encode(), value.encode(), 0)


def _call(number: int, *arguments: object) -> int:
    widened = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *widened))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
