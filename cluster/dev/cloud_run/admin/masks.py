"""Field masks of updates. No I/O."""

from __future__ import annotations

from typing import Any

from cluster.dev.cloud_run.errors import invalid


def merge(field: str, current: Any, given: Any, mask: Any) -> Any:
    """Return a resource with the fields that a mask names taken from the request, or all without a mask.

    Raises ApiError for a mask that names what there is not.
    """
    paths = list(mask.paths)
    if not paths or paths == ["*"]:
        return given
    if not mask.IsValidForDescriptor(current.DESCRIPTOR):
        raise invalid(field, f"{', '.join(paths)}: not all of these are fields.")
    for path in paths:
        _take(current, given, path.split("."))
    return current


def _take(target: Any, source: Any, path: list[str]) -> None:
    """Take one field over, whole: a list or a map is replaced, what the request leaves out is cleared."""
    name, rest = path[0], path[1:]
    if rest:
        _take(getattr(target, name), getattr(source, name), rest)
        return
    target.ClearField(name)
    part = type(source)()
    part.CopyFrom(source)
    for field, _ in source.ListFields():
        if field.name != name:
            part.ClearField(field.name)
    target.MergeFrom(part)
