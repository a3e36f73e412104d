"""Storage for packs of chunks: a directory of this machine, or a bucket.

An object is written once, whole, and durable when ``put`` returns: a manifest may refer to it then.
The directory is written here and not through obstore's ``LocalStore``, which renames a staged file into
place without any fsync (object_store, ``local.rs``): after a power cut a committed manifest could name
a pack that is empty. Buckets are obstore's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import InvalidArgument, NotFound
from actors.core.errors.store import StoreFull

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DRAFT = ".draft-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}/\.?[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


class Listed(NamedTuple):
    """An object: its age in seconds, and its size in bytes."""

    age: float
    size: int


class Blobs(Protocol):
    """Objects by name, ``group/object``. Every method is safe to call from several tasks at once."""

    async def put(self, name: str, data: bytes) -> None:
        """Keep an object; durable on return. Raises StoreFull (nothing was kept), Unavailable."""
        ...

    async def get(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object, each by offset and size. Raises NotFound, Unavailable."""
        ...

    async def read(self, name: str) -> bytes:
        """Return an object. Raises NotFound, Unavailable."""
        ...

    async def delete(self, name: str) -> None:
        """Remove an object. Idempotent."""
        ...

    async def listing(self, group: str) -> dict[str, Listed]:
        """Return the objects of a group, by the name within it."""
        ...

    async def delete_group(self, group: str) -> None:
        """Remove a group with all its objects. Idempotent."""
        ...


def open_blobs(place: str) -> Blobs:
    """Return the objects at a place: a path, or ``gs://``, ``s3://``, ``az://`` and a bucket's name.

    Raises InvalidArgument for a place that cannot be one.
    """
    if "://" not in place:
        return DirectoryBlobs(Path(place))
    return BucketBlobs(place)


class DirectoryBlobs:
    """Files below a directory; a group is a subdirectory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, name: str, data: bytes) -> None:
        """Write, fsync, rename, and fsync the names on the way to it."""
        await asyncio.to_thread(self._put, self._path(name), data)

    async def get(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read parts of a file."""
        return await asyncio.to_thread(self._get, name, spans)

    async def read(self, name: str) -> bytes:
        """Read a file."""
        return await asyncio.to_thread(self._read, name)

    async def delete(self, name: str) -> None:
        """Remove a file."""
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(self._path(name).unlink)

    async def listing(self, group: str) -> dict[str, Listed]:
        """List a directory; drafts of writers that died are in it, too."""
        return await asyncio.to_thread(self._listing, self._path(f"{group}/x").parent)

    async def delete_group(self, group: str) -> None:
        """Remove a directory."""
        await asyncio.to_thread(self._delete_group, self._path(f"{group}/x").parent)

    def _path(self, name: str) -> Path:
        return self._root / _checked(name)

    def _put(self, path: Path, data: bytes) -> None:
        draft = path.with_name(f"{_DRAFT}{secrets.token_hex(8)}")
        try:
            _make_durably(path.parent)
            try:
                with draft.open("xb", buffering=0) as file:
                    view = memoryview(data)
                    while view:
                        view = view[file.write(view) :]
                    os.fsync(file.fileno())
                draft.replace(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            _sync_directory(path.parent)
        except OSError as error:
            raise _translated(error) from error

    def _get(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        try:
            with self._path(name).open("rb") as file:
                parts = [os.pread(file.fileno(), size, offset) for offset, size in spans]
        except FileNotFoundError:
            raise NotFound("pack", name) from None
        except OSError as error:
            raise _translated(error) from error
        if any(len(part) < size for part, (_, size) in zip(parts, spans, strict=True)):
            raise Unavailable("chunk store", f"pack {name} is shorter than it was")
        return parts

    def _read(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise NotFound("pack", name) from None
        except OSError as error:
            raise _translated(error) from error

    @staticmethod
    def _listing(directory: Path) -> dict[str, Listed]:
        found: dict[str, Listed] = {}
        now = time.time()
        try:
            for entry in os.scandir(directory):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    found[entry.name] = Listed(now - status.st_mtime, status.st_size)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _translated(error) from error
        return found

    @staticmethod
    def _delete_group(directory: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(directory):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)
            directory.rmdir()


class BucketBlobs:
    """Objects of a bucket; credentials come from the environment, as for the provider's own tools."""

    def __init__(self, url: str, store: Any = None) -> None:
        import obstore  # noqa: PLC0415 - a server with a directory does not need it
        from obstore.store import from_url  # noqa: PLC0415

        self._obstore = obstore
        try:
            self._store: Any = store or from_url(url)
        except Exception as error:  # noqa: BLE001 - obstore raises several without a common base
            raise InvalidArgument("chunk_store", f"{url}: {error}") from None

    async def put(self, name: str, data: bytes) -> None:
        """Upload; a bucket answers when it is durable."""
        await self._call("put", self._obstore.put_async(self._store, _checked(name), data))

    async def get(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read parts; near ones are fetched together."""
        reading = self._obstore.get_ranges_async(
            self._store,
            _checked(name),
            starts=[offset for offset, _ in spans],
            lengths=[size for _, size in spans],
        )
        return [bytes(part) for part in await self._call(name, reading)]

    async def read(self, name: str) -> bytes:
        """Download an object."""
        answer = await self._call(name, self._obstore.get_async(self._store, _checked(name)))
        return bytes(await self._call(name, answer.bytes_async()))

    async def delete(self, name: str) -> None:
        """Remove an object."""
        with contextlib.suppress(NotFound):
            await self._call(name, self._obstore.delete_async(self._store, _checked(name)))

    async def listing(self, group: str) -> dict[str, Listed]:
        """List the objects of a group."""
        found = await self._call(group, self._list(group))
        now = time.time()
        return {
            meta["path"].rpartition("/")[2]: Listed(
                now - meta["last_modified"].timestamp(), int(meta["size"])
            )
            for meta in found
        }

    async def delete_group(self, group: str) -> None:
        """Remove all objects of a group."""
        for name in await self.listing(group):
            await self.delete(f"{group}/{name}")

    async def _list(self, group: str) -> list[Any]:
        found: list[Any] = []
        async for page in self._obstore.list(self._store, prefix=_checked(f"{group}/x")[:-2]):
            found += page
        return found

    @staticmethod
    async def _call(name: str, work: Any) -> Any:
        from obstore.exceptions import BaseError, NotFoundError  # noqa: PLC0415

        try:
            return await work
        except (NotFoundError, FileNotFoundError):
            raise NotFound("pack", name) from None
        except (BaseError, OSError) as error:
            number = _OS_ERROR.search(str(error))
            if number is not None and int(number[1]) in _FULL:
                raise StoreFull from error
            raise Unavailable("chunk store", str(error).partition("\n")[0]) from error


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidArgument("pack", "group/object of letters, digits, '.', '_' and '-'")
    return name


def _translated(error: OSError) -> Exception:
    if error.errno in _FULL:
        return StoreFull()
    return Unavailable("chunk store", error.strerror or str(error))


def _make_durably(directory: Path) -> None:
    """Make a directory and those above it; their names are on disk on return."""
    if directory.is_dir():
        return
    _make_durably(directory.parent)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
