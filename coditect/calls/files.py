"""Calls of files, directories and kept versions."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from coditect import addresses, trees
from coditect.connection import Connection, given, new_key
from coditect.errors import SearchStopped, from_problem
from coditect.models import FileChange, FileVersion, Match, Receipt, TreeEntry, Unpacked
from coditect.upload import Upload


class FileCalls(Connection):
    """Calls of files, directories and kept versions."""

    async def tree(self, session_id: str, path: str = "") -> list[TreeEntry]:
        """List a directory, all of it, in the order of the names' bytes."""
        target = addresses.session(session_id, f"tree/{addresses.path(path)}")
        found: list[TreeEntry] = []
        after: str | None = ""
        while after is not None:
            query = f"?after={addresses.value(after)}" if after else ""
            page = (await self._request("GET", target + query)).json()
            found += [TreeEntry.from_json(item) for item in page["entries"]]
            after = page.get("next")
        return found

    async def read_file(self, session_id: str, path: str, *, version: int | None = None) -> bytes:
        """Return a whole file, as it is or as of a kept version."""
        target = addresses.file(session_id, path)
        return (await self._request("GET", target, params=given(version=version))).content

    async def history(
        self, session_id: str, path: str, *, before: int | None = None, limit: int = 100
    ) -> list[FileVersion]:
        """List the kept versions of a file, the newest first."""
        target = addresses.session(session_id, f"history/{addresses.file_path(path)}")
        answer = await self._request("GET", target, params=given(limit=limit, before=before))
        return [FileVersion.from_json(item) for item in answer.json()["versions"]]

    async def restore_file(
        self,
        session_id: str,
        path: str,
        version: int,
        *,
        target: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Put a file back as it was at a version, or its like under the path ``target``."""
        body = given(path=path, version=version, target=target or None)
        url = addresses.session(session_id, "restore")
        answer = await self._request("POST", url, json=body, key=key or new_key())
        return Receipt.from_json(answer.json())

    async def stream_file(
        self, session_id: str, path: str, *, version: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a file's bytes piece by piece, as it is or as of a kept version."""
        target = addresses.file(session_id, path)
        async for piece in self._stream(target, given(version=version)):
            yield piece

    async def stream_directory(self, session_id: str, path: str = "") -> AsyncIterator[bytes]:
        """Yield a directory with all that is in it as a tar stream; one that breaks off is not whole."""
        async for piece in self._stream(
            addresses.session(session_id, f"archive/{addresses.path(path)}")
        ):
            yield piece

    async def search(
        self,
        session_id: str,
        text: str,
        *,
        kind: Literal["name", "content"] = "name",
        path: str = "",
        case: bool = False,
        regex: bool = False,
        everything: bool = False,
    ) -> AsyncIterator[Match]:
        """Yield files of that name, or lines with that text, in the order of the paths, page by page.

        ``everything``: also in ``.git``, ``node_modules``, ``.venv``, ``__pycache__``, ``.cache``, ``.npm``.
        Binary files are left out. Raises SearchStopped behind what was found by a search that was
        ended before all was looked through, and cannot go on.
        """
        flags = {"case": case, "regex": regex, "everything": everything}
        query = {"q": text, "kind": kind, "path": path, "limit": "1000"}
        query |= {name: "true" for name, on in flags.items() if on}
        after: str | None = ""
        while after is not None:
            url = addresses.session(session_id, "search")
            page = (await self._request("GET", url, params=query | {"after": after})).json()
            for each in page["matches"]:
                yield Match.from_json(each)
            after = page.get("next")
            if after is None and (reason := page.get("stopped_by")):
                raise SearchStopped(reason)

    async def watch(self, session_id: str, path: str = "") -> AsyncIterator[FileChange]:
        """Yield what changes below a path, within a second, until the connection ends.

        The first one says that the watch has begun: it is ``lost``, as whatever was before it. Raises the
        server's error when the session ends or sleeps, ConnectionFailed when the connection breaks.
        """
        url = addresses.session(session_id, f"watch/{addresses.path(path)}")
        rest = b""
        async for piece in self._stream(url):
            *blocks, rest = (rest + piece).split(b"\n\n")
            for block in blocks:
                fields = dict(
                    line.split(b": ", 1) for line in block.split(b"\n") if line[:1] != b":"
                )
                if b"data" not in fields:
                    continue
                name, data = fields[b"event"], json.loads(fields[b"data"])
                if name == b"error":
                    raise from_problem(int(data["status"]), data, None)
                if name == b"ready":
                    yield FileChange(path, lost=True)
                else:
                    yield FileChange(data["path"], data.get("type"), lost=name == b"lost")

    async def unpack(
        self,
        session_id: str,
        path: str,
        data: bytes | BinaryIO | Iterator[bytes] | AsyncIterator[bytes],
        *,
        timeout_seconds: float = 600.0,
    ) -> Unpacked:
        """Unpack a tar stream, plain or by gzip, below a directory; return when what was made is durable.

        What cannot be made is named in the answer, and the rest is made.
        """
        answer = await self._request(
            "PUT",
            addresses.session(session_id, f"archive/{addresses.path(path)}"),
            content=data if isinstance(data, bytes) else Upload(data),
            timeout=timeout_seconds,
        )
        return Unpacked.from_json(answer.json())

    async def upload_directory(
        self,
        session_id: str,
        source: str | os.PathLike[str],
        path: str = "",
        *,
        progress: trees.Progress = trees.silent,
    ) -> Unpacked:
        """Put what a directory of this machine holds into one of the workspace, made if need be.

        As one stream: names, permissions, times and links arrive as they are. ``progress`` is told of entries
        and bytes on their way, in another thread.
        """
        with trees.packed(Path(source), progress) as stream:
            return await self.unpack(session_id, path, stream)

    async def download_directory(
        self,
        session_id: str,
        path: str,
        target: str | os.PathLike[str],
        *,
        progress: trees.Progress = trees.silent,
    ) -> list[tuple[str, str]]:
        """Put what a directory of the workspace holds into one of this machine, made if need be.

        Returns what was not made, with reasons: names and links that lead out of it are left out.
        """
        loop = asyncio.get_running_loop()
        pieces = self.stream_directory(session_id, path)

        def each() -> Iterator[bytes]:
            while piece := asyncio.run_coroutine_threadsafe(_next(pieces), loop).result():
                yield piece

        return await asyncio.to_thread(trees.unpack, each(), Path(target), progress)

    async def write_file(
        self,
        session_id: str,
        path: str,
        data: bytes | BinaryIO | Iterator[bytes] | AsyncIterator[bytes],
        *,
        if_match: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Save a file; the receipt comes when it is durable. ``if_match`` is an etag, or ``*``.

        An open file is read from where it stands, piece by piece; an iterator yields pieces.
        """
        headers = {"if-match": if_match} if if_match else {}
        answer = await self._request(
            "PUT",
            addresses.file(session_id, path),
            content=data if isinstance(data, bytes) else Upload(data),
            headers=headers,
            key=key or new_key(),
        )
        return Receipt.from_json(answer.json())

    async def delete_file(self, session_id: str, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link or, with ``recursive``, a directory."""
        parameters = {"recursive": "1"} if recursive else {}
        await self._request(
            "DELETE", addresses.file(session_id, path), params=parameters, key=new_key()
        )

    async def move(
        self, session_id: str, source: str, target: str, *, overwrite: bool = False
    ) -> None:
        """Rename a file or a directory."""
        body = {"source": source, "target": target, "overwrite": overwrite}
        url = addresses.session(session_id, "move")
        await self._request("POST", url, json=body)

    async def make_directory(self, session_id: str, path: str) -> bool:
        """Make a directory, with its parents; say whether it was not there before."""
        url = addresses.session(session_id, "directories")
        answer = await self._request("POST", url, json={"path": path}, key=new_key())
        return answer.status_code == 201


async def _next(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces, b"")
