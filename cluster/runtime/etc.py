"""The ``/etc`` of containers: a directory of our own, with copies of what is harmless in the machine's.

One directory serves all containers, mounted read-only; a mount for each file would cost every
launch 8 ms. It is named by a fingerprint of its sources: when the machine's files change, the
next launch makes a new one, and running containers keep theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from cluster.runtime.rootfs import ETC_FILES, ETC_FROM_MACHINE


def prepare(runtime_dir: Path, machine: Path = Path("/etc")) -> Path:
    """Return the directory to mount at ``/etc``, made when missing. Safe to call from anywhere at once."""
    target = runtime_dir / f"etc-{_fingerprint(machine)}"
    if target.is_dir():
        return target
    runtime_dir.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".etc-", dir=runtime_dir))
    try:
        _fill(draft, machine)
        with contextlib.suppress(OSError):  # somebody else was first; theirs is the same
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _fill(draft: Path, machine: Path) -> None:
    for name in ETC_FROM_MACHINE:
        source, copy = machine / name, draft / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            copy.symlink_to(os.readlink(source))
        elif source.is_dir():
            shutil.copytree(source, copy, symlinks=True, copy_function=_copy_if_readable)
        elif source.is_file():
            _copy_if_readable(str(source), str(copy))
    for name, text in ETC_FILES.items():
        (draft / name).write_text(text, encoding="utf-8")
    for directory, names, files in os.walk(draft):
        for name in (*names, *files):
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
    draft.chmod(0o755)


def _copy_if_readable(source: str, copy: str) -> None:
    """Copy a file that everybody may read: what others may not read is not for containers either."""
    if os.path.islink(source):
        Path(copy).symlink_to(os.readlink(source))
    elif os.stat(source).st_mode & 0o004:
        shutil.copyfile(source, copy)


def _fingerprint(machine: Path) -> str:
    digest = hashlib.blake2b(repr(sorted(ETC_FILES.items())).encode(), digest_size=8)
    for name in ETC_FROM_MACHINE:
        with contextlib.suppress(OSError):
            status = (machine / name).lstat()
            digest.update(
                f"{name} {status.st_mtime_ns} {status.st_size} {status.st_ino}\n".encode()
            )
    return digest.hexdigest()
