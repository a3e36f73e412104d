"""Records to bytes and back: JSON with a schema version."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from actors.core.errors.store import StoreFailed
from actors.core.records.base import Record

R = TypeVar("R", bound=Record)

_SURROGATE = b"\\ud"  # an escape that pydantic itself never writes


def encode(record: Record) -> bytes:
    """Return a record's stored form.

    A text may hold lone surrogates, for names that are no UTF-8: json escapes what pydantic refuses.
    """
    try:
        return record.model_dump_json().encode()
    except PydanticSerializationError:
        return json.dumps(record.model_dump(mode="json"), separators=(",", ":")).encode()


def decode(kind: type[R], data: bytes) -> R:
    """Return the record. Raises StoreFailed for one that this version cannot read."""
    try:
        escaped = _SURROGATE in data
        record = (
            kind.model_validate(json.loads(data)) if escaped else kind.model_validate_json(data)
        )
    except (ValidationError, ValueError) as error:
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
