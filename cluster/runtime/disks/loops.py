"""Files as block devices: loop devices that end with their last user (loop(4)).

Needs root and ``/dev/loop-control``; raises OSError. ``LOOP_CONFIGURE`` came with Linux 5.8.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

_GET_FREE, _CONFIGURE, _GET_STATUS = 0x4C82, 0x4C0A, 0x4C05
_ENDS_WITH_LAST_USER, _DIRECT = 4, 16
# struct loop_info64: device, inode, rdevice, offset, size limit; number, three others, of which the
# last are the flags; names and keys.
_INFO = "5Q4I64s64s32s2Q"
_CONFIG = f"2I{_INFO}8Q"
_BLOCK = 4096
_ATTEMPTS = 50


def attach(image: int) -> tuple[int, str]:
    """Return a device for an open file, and its path. The caller closes the descriptor.

    A file that has a device already gets that one: two of them would each have their own idea of what
    lies in it. Two callers must not ask for the same file at once. The device lasts as long as
    somebody has it open or mounted.
    """
    found = _of(os.fstat(image))
    if found is not None:
        return found
    with open("/dev/loop-control", "rb", buffering=0) as control:
        for attempt in range(_ATTEMPTS):
            path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                _configure(device, image)
            except OSError as error:
                os.close(device)
                # Somebody else took it meanwhile.
                if error.errno != errno.EBUSY or attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                os.close(device)
                raise
            else:
                return device, path
    raise AssertionError("unreachable")


def has_device(image: int) -> bool:
    """Return whether an open file is somebody's device now."""
    found = _of(os.fstat(image))
    if found is not None:
        os.close(found[0])
    return found is not None


def _configure(device: int, image: int) -> None:
    """Bind a device; past the page cache, where the file system below can do that."""
    for flags in (_ENDS_WITH_LAST_USER | _DIRECT, _ENDS_WITH_LAST_USER):
        info = (0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0)
        config = struct.pack(_CONFIG, image, _BLOCK, *info, *[0] * 8)
        try:
            fcntl.ioctl(device, _CONFIGURE, config)
        except OSError as error:
            if error.errno != errno.EINVAL or flags == _ENDS_WITH_LAST_USER:
                raise
        else:
            return


def _of(file: os.stat_result) -> tuple[int, str] | None:
    for block in Path("/sys/block").glob("loop*/loop"):
        path = f"/dev/{block.parent.name}"
        with contextlib.suppress(OSError):  # it has ended meanwhile
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                status = fcntl.ioctl(device, _GET_STATUS, bytes(struct.calcsize(_INFO)))
                if struct.unpack(_INFO, status)[:2] == (_encoded(file.st_dev), file.st_ino):
                    found, device = device, -1
                    return found, path
            finally:
                if device >= 0:
                    os.close(device)
    return None


def _encoded(device: int) -> int:
    """Encode a device's number as the kernel does here (``huge_encode_dev``)."""
    major, minor = os.major(device), os.minor(device)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
