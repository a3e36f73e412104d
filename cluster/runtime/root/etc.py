"""The ``/etc`` of containers: a directory of our own, with copies of what is harmless in the machine's.

Which that is, ``etc_rule.py`` says. One directory serves all containers, mounted read-only; a mount
for each file would cost every launch 8 ms. It is named by a fingerprint of its sources: when the machine's
files or packages change, the next launch makes a new one, and running containers keep theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from cluster.runtime.root import etc_rule
from cluster.runtime.root.rootfs import AUTHORITIES, ETC_FILES

DPKG_STATUS = Path("/var/lib/dpkg/status")
_MOST_FILES = 20_000
_LARGEST = 16 << 20
_VERSION = "2"
_AUTHORITIES = AUTHORITIES.removeprefix("/etc/")

_made: dict[tuple[Hashable, ...], tuple[tuple[tuple[int, int], ...], Path]] = {}
"""The last find of this process, with the state of its sources: a launch must not look at each file."""


def prepare(
    runtime_dir: Path,
    machine: Path = Path("/etc"),
    dpkg_status: Path = DPKG_STATUS,
    more: Mapping[str, str] = MappingProxyType({}),
    authority: str = "",
) -> Path:
    """Return the directory to mount at ``/etc``, made when missing. Safe to call from anywhere at once.

    ``more`` are further files of our own, by their path below it; what begins with ``#!`` is a program.
    ``authority`` is a certificate that programs trust beside those that the machine trusts.
    """
    files = {**ETC_FILES, **more}
    seen = runtime_dir, machine, dpkg_status, authority, frozenset(files.items())
    stamp = tuple(
        map(_stamp, (machine, dpkg_status, machine / "ssl/certs", machine / "ld.so.cache"))
    )
    known, target = _made.get(seen, ((), runtime_dir))
    if known == stamp and target.is_dir():
        return target
    target = runtime_dir / f"etc-{_fingerprint(machine, dpkg_status, files, authority)}"
    _made[seen] = stamp, target
    if target.is_dir():
        return target
    runtime_dir.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".etc-", dir=runtime_dir))
    try:
        _fill(draft, machine, dpkg_status, files)
        if authority:
            _trust(draft, machine, authority)
        with contextlib.suppress(OSError):  # somebody else was first; theirs is the same
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.lstat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def _fill(draft: Path, machine: Path, dpkg_status: Path, files: Mapping[str, str]) -> None:
    known = {}
    with contextlib.suppress(OSError):
        known = dict(etc_rule.conffiles(dpkg_status.read_text(errors="replace")))
    for path in _readable(machine):
        source = machine / path
        if source.is_symlink():
            shown = etc_rule.is_generated(path) or _leads_into_usr(source)
        else:
            shown = etc_rule.is_generated(path) or _sum(source) == known.get(path)
        if shown:
            with contextlib.suppress(OSError):  # it has gone meanwhile
                _copy(source, draft / path)
    for name, text in files.items():
        _write(draft, name, text)
    for directory, names, _ in os.walk(draft):
        for name in names:
            Path(directory, name).chmod(0o755)
    draft.chmod(0o755)


def _trust(draft: Path, machine: Path, authority: str) -> None:
    """Add a certificate to those that programs trust."""
    with contextlib.suppress(OSError):
        known = (machine / _AUTHORITIES).read_text(encoding="utf-8", errors="replace")
        authority = f"{known.rstrip()}\n{authority}"
    _write(draft, _AUTHORITIES, authority)
    (draft / _AUTHORITIES).parent.chmod(0o755)


def _write(draft: Path, name: str, text: str) -> None:
    """Write a file of our own. Links were copied, too: nothing is written through one."""
    target = draft / name
    for place in (*reversed(target.relative_to(draft).parents), Path(name)):
        if (draft / place).is_symlink():
            (draft / place).unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    target.chmod(0o755 if text.startswith("#!") else 0o644)


def _readable(machine: Path) -> Iterator[str]:
    """Yield files and links that everybody may read, by their path below ``machine``."""
    left, count = [""], 0
    while left:
        directory = left.pop()
        try:
            entries = sorted(os.scandir(machine / directory), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            path = f"{directory}/{entry.name}" if directory else entry.name
            count += 1
            if etc_rule.is_denied(path) or count > _MOST_FILES:
                continue
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o005 == 0o005:
                    left.append(path)
                elif stat.S_ISLNK(status.st_mode) or (
                    stat.S_ISREG(status.st_mode)
                    and status.st_mode & 0o004
                    and status.st_size <= _LARGEST
                ):
                    yield path


def _leads_into_usr(link: Path) -> bool:
    try:
        return str(link.resolve(strict=True)).startswith("/usr/")
    except (OSError, RuntimeError):
        return False


def _sum(path: Path) -> str | None:
    try:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError:
        return None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
        return
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o001 else 0o644)


def _fingerprint(machine: Path, dpkg_status: Path, files: Mapping[str, str], authority: str) -> str:
    identity = f"{_VERSION}{sorted(files.items())!r}{authority}"
    digest = hashlib.blake2b(identity.encode(), digest_size=8)
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(machine))
        named = [machine / name for name in names if not etc_rule.is_denied(name)]
        for path in (dpkg_status, *named, machine / "ssl/certs"):
            with contextlib.suppress(OSError):
                status = path.lstat()
                digest.update(
                    f"{path} {status.st_mtime_ns} {status.st_size} {status.st_ino}\n".encode()
                )
    return digest.hexdigest()
