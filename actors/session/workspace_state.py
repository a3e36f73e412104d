"""The small JSON document that a session keeps for its clients, changed by merge patches. Pure.

Source: RFC 7396.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from actors.core.errors.requests import InvalidArgument, PayloadTooLarge
from actors.core.records.sessions import SessionRecord

MAX_PATCH_BYTES = 64_000
MAX_STATE_BYTES = 64_000
MAX_DEPTH = 32


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


def with_patch(record: SessionRecord, patch: Mapping[str, Any]) -> SessionRecord:
    """Return a session's record with its state after a checked patch. Raises PayloadTooLarge."""
    return record.model_copy(update={"workspace_state": patched(record.workspace_state, patch)})


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
