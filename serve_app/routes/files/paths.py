"""Paths in addresses, to the byte."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path, Query, Request
from starlette.convertors import Convertor, register_url_convertor

from actors.core.errors.requests import InvalidArgument


class AnyPath(Convertor[str]):
    """The rest of the path, line breaks included: file names may have them (Starlette's stops there)."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """Return it as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return it as it is."""
        return value


register_url_convertor("any_path", AnyPath())

_PathParameter = Annotated[
    str, Path(description="relative to the workspace", examples=["src/main.py"])
]


def _directory_behind(marker: bytes) -> Any:
    async def get(request: Request) -> str:
        return _as_sent(request, marker)  # empty for the workspace itself

    return Depends(get)


def _file_behind(marker: bytes) -> Any:
    async def get(request: Request, path: _PathParameter) -> str:
        if not path:
            raise InvalidArgument("path", "the path of a file in the workspace")
        return _as_sent(request, marker)

    return Depends(get)


def _as_sent(request: Request, marker: bytes) -> str:
    """Return a path to the byte as it was sent; bytes that are no UTF-8 become surrogate escapes."""
    raw: bytes = request.scope["raw_path"]
    # The session's id in front of it holds no slash, so the first marker is the right one.
    sent = raw.partition(marker)[2].removeprefix(b"/")
    return unquote_to_bytes(sent).decode("utf-8", "surrogateescape")


async def get_after(
    request: Request,
    after: Annotated[str, Query(description="list names behind this one, `next` of a page")] = "",
) -> str:
    """Return a name in a query to the byte. Raises InvalidArgument."""
    del after  # decoded by now, with what is no UTF-8 replaced
    for part in request.scope["query_string"].split(b"&"):
        name, _, value = part.partition(b"=")
        if name == b"after":
            return unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "surrogateescape")
    return ""


TreePath = Annotated[str, _directory_behind(b"/tree")]
ArchivePath = Annotated[str, _directory_behind(b"/archive")]
WatchPath = Annotated[str, _directory_behind(b"/watch")]
FilePath = Annotated[str, _file_behind(b"/files")]
HistoryPath = Annotated[str, _file_behind(b"/history")]
