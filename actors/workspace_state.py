"""The small JSON document that a session keeps: what clients may patch, what the server keeps. Pure.

Clients change it by merge patches (RFC 7396). Keys in ``SERVER_KEYS`` are the server's: a patch that
names one is refused. ``terminals`` maps each known terminal to ``{"end_offset": int, "cwd": str |
null}``: where the numbering of its output continues, and where its shell starts again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from actors.errors import InvalidArgument, PayloadTooLarge
from actors.records import TerminalMark

SERVER_KEYS = frozenset({"terminals"})
MAX_PATCH_BYTES = 64_000
MAX_STATE_BYTES = 64_000
MAX_DEPTH = 32
MAX_TERMINALS = 64
MAX_NAME = 64
MAX_CWD = 4096
MAX_OFFSET = 1 << 62


def merge_patch(target: Any, patch: Any) -> Any:
    """Return ``target`` changed by ``patch`` as RFC 7396 section 2 defines; neither is modified."""
    if not isinstance(patch, Mapping):
        return patch
    result: dict[str, Any] = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def check_patch(patch: Any) -> Mapping[str, Any]:
    """Return a client's patch if it may be applied. Raises InvalidArgument, PayloadTooLarge."""
    if not isinstance(patch, Mapping):
        raise InvalidArgument("patch", "a JSON object")
    owned = SERVER_KEYS.intersection(patch)
    if owned:
        raise InvalidArgument("patch", f"{', '.join(sorted(owned))} cannot be set by clients")
    _check_depth(patch)
    if _size(patch, "patch") > MAX_PATCH_BYTES:
        raise PayloadTooLarge("patch", MAX_PATCH_BYTES)
    return patch


def patched(state: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state after a checked patch. Raises PayloadTooLarge when it grew too large."""
    result: dict[str, Any] = merge_patch(state, patch)
    if _size(result, "workspace_state") > MAX_STATE_BYTES:
        raise PayloadTooLarge("workspace_state", MAX_STATE_BYTES)
    return result


def check_marks(marks: Any) -> dict[str, TerminalMark | None]:
    """Return a report of terminals if it may be merged; None marks one that is gone."""
    if not isinstance(marks, Mapping) or len(marks) > MAX_TERMINALS:
        raise InvalidArgument("marks", f"an object of at most {MAX_TERMINALS} terminals")
    for name, mark in marks.items():
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidArgument("marks", f"a terminal's name has 1 to {MAX_NAME} characters")
        if mark is None:
            continue
        if not isinstance(mark, TerminalMark) or not 0 <= mark.end_offset <= MAX_OFFSET:
            raise InvalidArgument("marks", "each is a TerminalMark with end_offset ≥ 0, or None")
        if mark.cwd is not None and len(mark.cwd) > MAX_CWD:
            raise InvalidArgument("marks", f"cwd has at most {MAX_CWD} characters")
    return dict(marks)


def known_terminals(state: Mapping[str, Any]) -> dict[str, TerminalMark]:
    """Return the terminals that a stored state names; what cannot be read is left out."""
    stored = state.get("terminals")
    if not isinstance(stored, Mapping):
        return {}
    return {
        name: TerminalMark(end_offset=int(mark.get("end_offset", 0)), cwd=mark.get("cwd"))
        for name, mark in stored.items()
        if isinstance(mark, Mapping)
    }


def with_marks(
    known: Mapping[str, TerminalMark], marks: Mapping[str, TerminalMark | None]
) -> dict[str, TerminalMark]:
    """Return what is known after a report: offsets only grow, a directory is kept until another comes.

    Past ``MAX_TERMINALS`` further names are left out: a shell of that name then starts on demand.
    """
    result = dict(known)
    for name, mark in marks.items():
        if mark is None:
            result.pop(name, None)
            continue
        before = result.get(name)
        if before is None and len(result) >= MAX_TERMINALS:
            continue
        end = max(mark.end_offset, before.end_offset if before else 0)
        cwd = mark.cwd if mark.cwd is not None else (before.cwd if before else None)
        result[name] = TerminalMark(end_offset=end, cwd=cwd)
    return result


def with_terminals(
    state: Mapping[str, Any], terminals: Mapping[str, TerminalMark]
) -> dict[str, Any]:
    """Return the state with these terminals in the server's part."""
    result = {key: value for key, value in state.items() if key != "terminals"}
    if terminals:
        result["terminals"] = {name: mark.model_dump() for name, mark in terminals.items()}
    return result


def _size(value: Any, field: str) -> int:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return len(text.encode())
    except (TypeError, ValueError):  # includes UnicodeEncodeError: lone surrogates
        raise InvalidArgument(field, "JSON values only") from None


def _check_depth(value: Any) -> None:
    """Refuse what is nested too deep to walk; iterative, since the input may be hostile."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (
                node.values()
                if isinstance(node, Mapping)
                else node
                if isinstance(node, list)
                else ()
            )
        ]
        if not level:
            return
    raise InvalidArgument("patch", f"at most {MAX_DEPTH} levels")
