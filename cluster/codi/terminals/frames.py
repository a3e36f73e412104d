"""The frames of a terminal's socket, and the parameters of its request: read, checked, made. No I/O.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.codi.terminals.sizing import RULES, Rule, is_rule

MAX_OFFSET = (1 << 53) - 1
"""The largest offset: JSON numbers are exact up to here in every language (RFC 8259, 6)."""

MAX_SIZE = 1000
"""The largest number of columns or rows."""

MAX_NAME = 128
MAX_LABEL = 64
AUTOMATION_PREFIX = "auto-"
"""Terminals of such names are programs': pages do not show them, and alone for long they are ended."""

CLOSE_BAD_FRAME = 4400
CLOSE_SLOW = 4408
CLOSE_ENDED = 4410
CLOSE_REPLACED = 4411


encoded = json.JSONEncoder(separators=(",", ":")).encode
"""Return a value as JSON. ``json.dumps`` would make an encoder for each."""


class BadFrame(ValueError):
    """A frame or a parameter that the protocol does not allow; its text says what is allowed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A connection's request. ``offset`` None: everything kept.

    ``size`` None: it does not show the terminal. ``emulator``: it answers what programs ask of a terminal.
    ``label``: what people at other windows see of it.
    """

    client: str | None = None
    offset: int | None = None
    input_offset: int = 0
    size: tuple[int, int] | None = None
    create: bool = False
    emulator: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Resize:
    """The client shows the terminal, this large."""

    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Hidden:
    """The client does not show the terminal any more."""


@dataclass(frozen=True, slots=True)
class Active:
    """A person uses the terminal at this client."""


@dataclass(frozen=True, slots=True)
class ChooseSizing:
    """A person wants the terminal sized by this rule."""

    rule: Rule


Said = Resize | Hidden | Active | ChooseSizing


def parse_request(query: Mapping[str, str]) -> Request:
    """Read a socket's query parameters. Raises BadFrame."""
    client = query.get("client") or None
    if client is not None and (len(client) > MAX_NAME or not client.isprintable()):
        raise BadFrame(f"client: up to {MAX_NAME} printable characters")
    label = query.get("label") or ""
    if len(label) > MAX_LABEL or not label.isprintable():
        raise BadFrame(f"label: up to {MAX_LABEL} printable characters")
    size = None
    if query.get("cols") or query.get("rows"):
        size = (
            _number(query, "cols", 80, 1, MAX_SIZE),
            _number(query, "rows", 24, 1, MAX_SIZE),
        )
    return Request(
        client=client,
        offset=_number(query, "offset", 0, 0, MAX_OFFSET) if query.get("offset") else None,
        input_offset=_number(query, "input_offset", 0, 0, MAX_OFFSET),
        size=size,
        create=query.get("create") == "1",
        emulator=query.get("emulator") == "1",
        label=label,
    )


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and low <= int(text) <= high):
        raise BadFrame(f"{name}: a number from {low} to {high}")
    return int(text)


def check_name(name: str) -> str:
    """Return a terminal's name if it is one: a single segment of a URL. Raises BadFrame."""
    good = 0 < len(name) <= MAX_NAME and name.isprintable()
    if not good or "/" in name or name in {".", ".."}:
        raise BadFrame(f"name: 1 to {MAX_NAME} printable characters, no slash, not only dots")
    return name


def check_size(cols: Any, rows: Any) -> tuple[int, int]:
    """Return a terminal's size if it is one. Raises BadFrame."""
    for name, value in (("cols", cols), ("rows", rows)):
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise BadFrame(f"{name}: a number from 1 to {MAX_SIZE}")
    return cols, rows


def parse_control(text: str) -> Said | None:
    """Read a client's text frame; None for a type that is unknown. Raises BadFrame.

    Unknown types are ignored, so that newer clients work with an older CODI.
    """
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise BadFrame("text frames are JSON objects") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrame('text frames are JSON objects with a "type"')
    match frame["type"]:
        case "resize":
            return Resize(check_size(frame.get("cols"), frame.get("rows")))
        case "hidden":
            return Hidden()
        case "active":
            return Active()
        case "sizing":
            rule = frame.get("rule")
            if not is_rule(rule):
                raise BadFrame(f"rule: one of {', '.join(RULES)}")
            return ChooseSizing(rule)
    return None


def control(kind: str, **fields: Any) -> str:
    """Return a text frame."""
    return encoded({"type": kind, **fields})


def snapshot(state: bytes) -> str:
    """Return the text frame that brings a terminal to where the output that follows begins.

    It is none of the numbered output, and clients that only count bytes need not look at it.
    """
    return control("snapshot", data=base64.b64encode(state).decode())
