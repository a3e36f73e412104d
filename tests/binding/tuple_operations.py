"""The stack machine's tuple operations: each takes the machine's ``pop``, returns what to push."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import fdb.tuple

from cluster.store.layers.keyspace import Directory

Pop = Callable[[], Any]


def _taken(pop: Pop) -> tuple[Any, ...]:
    return tuple(pop() for _ in range(pop()))


def _pack(pop: Pop) -> list[Any]:
    return [fdb.tuple.pack(_taken(pop))]


def _pack_with_versionstamp(pop: Pop) -> list[Any]:
    prefix = pop()
    items = _taken(pop)
    holes = sum(
        isinstance(item, fdb.tuple.Versionstamp) and not item.is_complete() for item in items
    )
    if holes != 1:
        return [b"ERROR: NONE" if holes == 0 else b"ERROR: MULTIPLE"]
    assert isinstance(items[-1], fdb.tuple.Versionstamp)
    stamped = Directory(*items[:-1]).stamped_key()
    offset = int.from_bytes(stamped[-4:], "little") + len(prefix)
    version = struct.pack(">H", items[-1].user_version)
    return [b"OK", prefix + stamped[:-6] + version + offset.to_bytes(4, "little")]


def _unpack(pop: Pop) -> list[Any]:
    return [fdb.tuple.pack((item,)) for item in fdb.tuple.unpack(pop())]


def _range(pop: Pop) -> list[Any]:
    span = fdb.tuple.range(_taken(pop))
    return [span.start, span.stop]


def _sort(pop: Pop) -> list[Any]:
    unpacked = [fdb.tuple.unpack(packed) for packed in _taken(pop)]
    return [fdb.tuple.pack(each) for each in sorted(unpacked, key=fdb.tuple.pack)]


def _encode_float(pop: Pop) -> list[Any]:
    return [fdb.tuple.SingleFloat(struct.unpack(">f", pop())[0])]


def _encode_double(pop: Pop) -> list[Any]:
    return [struct.unpack(">d", pop())[0]]


def _decode_float(pop: Pop) -> list[Any]:
    return [struct.pack(">f", pop().value)]


def _decode_double(pop: Pop) -> list[Any]:
    return [struct.pack(">d", pop())]


OPERATIONS: dict[str, Callable[[Pop], list[Any]]] = {
    "TUPLE_PACK": _pack,
    "TUPLE_PACK_WITH_VERSIONSTAMP": _pack_with_versionstamp,
    "TUPLE_UNPACK": _unpack,
    "TUPLE_RANGE": _range,
    "TUPLE_SORT": _sort,
    "ENCODE_FLOAT": _encode_float,
    "ENCODE_DOUBLE": _encode_double,
    "DECODE_FLOAT": _decode_float,
    "DECODE_DOUBLE": _decode_double,
}
