"""Names as texts. File systems know bytes; JSON and URLs get each of them back to the byte.

In JSON, bytes that are no UTF-8 are the lone surrogates U+DC80 to U+DCFF (PEP 383, as ``os.fsdecode``
has it), escaped; in URLs they are percent-encoded.
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes, unquote_to_bytes


def text(name: bytes) -> str:
    """Return a name as it stands in JSON."""
    return name.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    """Return the bytes of a name out of JSON. Raises UnicodeEncodeError for surrogates of no byte."""
    return name.encode("utf-8", "surrogateescape")


def encoded(name: bytes) -> str | None:
    """Return a name as it stands in a URL, if it is no UTF-8; for readers without lone surrogates."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return quote_from_bytes(name, safe="/")
    return None


def query(text: str) -> dict[str, bytes]:
    """Return the parameters of a query; the first of a name counts, and values are bytes."""
    found: dict[str, bytes] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        found.setdefault(name, unquote_to_bytes(value.replace("+", " ")))
    return found
