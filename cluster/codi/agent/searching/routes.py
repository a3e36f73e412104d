"""``POST /search``: names and contents of the workspace, within limits of time, bytes and matches."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from cluster.codi.agent.errors import invalid
from cluster.codi.agent.exchange import Exchange
from cluster.codi.agent.files import naming, paths
from cluster.codi.agent.files.routes import FileRoutes
from cluster.codi.agent.programs import execute
from cluster.codi.agent.programs.children import Children
from cluster.codi.agent.programs.output import LeftOpen, Output
from cluster.codi.agent.programs.starting import Wanted
from cluster.codi.agent.slots import Slots

MAX_MATCHES = 1000
_MAX_SEARCHES = 2
_MAX_TEXT = 1000
_SECONDS, _KILL_SECONDS = 8.0, 10.0
_MAX_ANSWER = 4 << 20
_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")


class SearchRoutes:
    """Handlers for the table in ``routes``."""

    def __init__(self, files: FileRoutes, children: Children, left_open: LeftOpen) -> None:
        self._files = files
        self._children = children
        self._left_open = left_open
        self._slots = Slots(_MAX_SEARCHES, "searches run")

    async def search(self, exchange: Exchange, _rest: bytes) -> None:
        """``POST /search`` ``{q, kind, path, limit, case, regex, everything, after}``."""
        asked = _checked(await exchange.json())
        path = paths.parse(naming.raw(asked.pop("path")))
        directory = await self._files.run(
            self._files.workspace.open, path, os.O_PATH | os.O_DIRECTORY
        )
        try:
            with self._slots.held():
                # A program of its own, of a container's user: killed when an expression never ends.
                place = f"/proc/{os.getpid()}/fd/{directory}"
                answer = await exchange.while_connected(
                    execute.execute(
                        self._children,
                        self._left_open,
                        Wanted([sys.executable, "-I", "-S", "-B", _WORKER], place, {}),
                        workspace="/",
                        environment={"LANG": "C.UTF-8", "PATH": os.defpath},
                        stdin=json.dumps(asked | {"seconds": _SECONDS}).encode(),
                        timeout_seconds=_KILL_SECONDS,
                        outputs=(self._output(), self._output()),
                    )
                )
        finally:
            os.close(directory)
        exchange.answer(200, _answer(answer, "" if path == b"." else naming.text(path) + "/"))

    def _output(self) -> Output:
        return Output(_MAX_ANSWER, _NoSpill(), self._files.run)


class _NoSpill:
    """A file that takes nothing."""

    path: str | None = None

    def add(self, data: bytes) -> bool:
        """Take nothing."""
        del data
        return False


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    wanted, kind = body.get("q"), body.get("kind", "name")
    if not isinstance(wanted, str) or not 0 < len(wanted) <= _MAX_TEXT:
        raise invalid(f"q: a text of 1 to {_MAX_TEXT} characters")
    if kind not in {"name", "content"}:
        raise invalid("kind: name or content")
    limit = body.get("limit", 100)
    if type(limit) is not int or not 0 < limit <= MAX_MATCHES:
        raise invalid(f"limit: a number from 1 to {MAX_MATCHES}")
    flags = {name: body.get(name) is True for name in ("case", "regex", "everything")}
    if flags["regex"]:
        try:
            re.compile(wanted)
        except (re.error, RecursionError, OverflowError) as error:
            raise invalid(f"q: no regular expression: {error}") from None
    path, after = body.get("path") or ".", body.get("after") or ""
    if not isinstance(path, str) or not isinstance(after, str) or not _is_place(after):
        raise invalid("path, after: texts, as an answer has them")
    return {"q": wanted, "kind": kind, "limit": limit, "path": path, "after": after, **flags}


def _is_place(after: str) -> bool:
    line, colon, _ = after.partition(":")
    return not after or (bool(colon) and line.isascii() and line.isdecimal() and len(line) < 20)


def _answer(ended: dict[str, Any], prefix: str) -> dict[str, Any]:
    matches: list[dict[str, Any]] = []
    reason, following = "time", None  # of one that was killed
    for line in ended["stdout"].splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue  # cut off by the limit, or by its end
        if "end" in found:
            reason, following = found["end"], found["next"]
        else:
            matches.append(found | {"path": prefix + found["path"]})
    return {"matches": matches, "stopped_by": reason, "next": following}
