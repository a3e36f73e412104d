"""Records to bytes and back: JSON with a schema version."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from actors.errors import StoreFailed
from actors.records import Record

R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """Return a record's stored form."""
    return record.model_dump_json().encode()


def decode(kind: type[R], data: bytes) -> R:
    """Return the record. Raises StoreFailed for one that this version cannot read."""
    try:
        record = kind.model_validate_json(data)
    except ValidationError as error:
        raise StoreFailed(f"a stored {kind.__name__} does not parse: {error}") from error
    if record.schema_version > kind.SCHEMA_VERSION:
        raise StoreFailed(
            f"a stored {kind.__name__} has schema {record.schema_version}, newer than"
            f" {kind.SCHEMA_VERSION}: it was written by a newer server"
        )
    return record


def decode_optional(kind: type[R], data: bytes | None) -> R | None:
    """Return the record, or None for none."""
    return None if data is None else decode(kind, data)
