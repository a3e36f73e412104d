"""Text to the byte: paths, and what programs are given."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

MAX_PATH = 16 << 10


def _path(text: str) -> str:
    """Check a path. Bytes that are UTF-8 after all become their characters: a name is one text."""
    raw = _bytes_of(text).encode("utf-8", "surrogateescape")
    if not 0 < len(raw) <= MAX_PATH:
        raise ValueError(f"a path has 1 to {MAX_PATH} bytes")
    return raw.decode("utf-8", "surrogateescape")


def _bytes_of(text: str) -> str:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate stands for no byte, except U+DC80 to U+DCFF") from None
    return text


WorkspacePath = Annotated[
    str,
    AfterValidator(_path),
    Field(
        examples=["src/main.py"],
        description="U+DC80 to U+DCFF, escaped, are bytes that are no UTF-8",
        json_schema_extra={"minLength": 1, "maxLength": MAX_PATH},
    ),
]
"""A path in the workspace, to the byte (PEP 383): pydantic's own limits would refuse lone surrogates."""


def _of_system(text: str) -> str:
    """Check what is given to a program: the system's strings have no NUL, and any other byte."""
    if "\0" in text:
        raise ValueError("it has a NUL")
    _bytes_of(text)
    return text


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError("the name of a variable is not empty and has no =")
    return _of_system(name)


SystemText = Annotated[
    str, AfterValidator(_of_system), Field(json_schema_extra={"pattern": "^[^\\u0000]*$"})
]
"""A string that a program is given; U+DC80 to U+DCFF are bytes that are no UTF-8 (PEP 383)."""

AnyText = Annotated[str, AfterValidator(_bytes_of)]
VariableName = Annotated[str, AfterValidator(_variable)]
