"""Binds a store to one server and one chunk store, so that no other takes it up.

A second server on the same store with a chunk store of its own would take over sessions that rest, and show
their owners empty workspaces. So at its first use the store is given the id of the server, which lies in the
data directory, and that of the chunk store, which lies in there. Both go wherever their directories go: a
data directory that is moved, or a chunk store that is copied, is still the same. A server that brings
another id is refused, with advice.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import secrets
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.requests import NotFound
from actors.core.records.base import Record
from cluster.blobs import Blobs, open_blobs
from cluster.paths import chunk_store
from cluster.settings import Settings
from cluster.store.engines.interface import Engine
from cluster.store.factory import make_engine
from cluster.store.layers.codec import decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact

ADOPT_FILE = "adopt-store"
"""A file in the data directory by which its server takes the store over, once: see ``adopt``."""

LIMIT_SECONDS = 60.0
_ID_FILE = "deployment-id"
_ID_OBJECT = "identity/chunk-store"


class Belonging(Record):
    """``(tenant, "belonging")``: ids of a server and a chunk store, and where they were last, for people."""

    deployment_id: str
    chunk_store_id: str
    data_dir: str
    chunk_store: str
    host: str
    since: float


class Misplaced(Exception):
    """The store is not this server's: what it is, and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}"


class Own(NamedTuple):
    """A server's side of the bond: its id, and whether it is to take the store over."""

    deployment_id: str
    data_dir: str
    chunk_store: str
    host: str
    adopts: bool


def adopt(data_dir: Path) -> None:
    """Have the next start of this directory's server take over whatever store and chunk store it finds."""
    (data_dir / ADOPT_FILE).touch()


def refusal(settings: Settings, *, claim: bool) -> str | None:
    """Return why the store that the settings name is not this server's, with what to do; None: it is.

    With ``claim`` a store of nobody becomes this server's. Without, nothing is written. The store must not
    be open elsewhere if it is the embedded one: Unavailable is raised then, as when it does not answer.
    """
    return look(settings, claim=claim)()


def look(settings: Settings, *, claim: bool) -> Callable[[], str | None]:
    """Begin what ``refusal`` does; the function that is returned waits for its end."""
    # Apart: FoundationDB's client keeps its network thread for the life of a process, and Ray, which comes
    # with the engines' makers, takes its settings from the environment when it is imported.
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_look_apart, args=(settings, claim, sending), daemon=True)
    child.start()
    sending.close()

    def outcome() -> str | None:
        try:
            if not receiving.poll(LIMIT_SECONDS):
                raise Unavailable("store", f"no answer within {LIMIT_SECONDS:g} s")
            failed, said = receiving.recv()
        except EOFError:
            raise Unavailable("store", "the client library ended its process") from None
        finally:
            child.kill()
            child.join()
            receiving.close()
        if failed:
            raise Unavailable("store", failed)
        return None if said is None else str(said)

    return outcome


def _look_apart(settings: Settings, claim: bool, sending: Connection) -> None:
    try:
        sending.send((None, asyncio.run(_look(settings, claim))))
    except CoditectError as error:
        sending.send((str(error), None))


async def _look(settings: Settings, claim: bool) -> str | None:
    engine = make_engine(settings)
    await engine.open()
    try:
        place = chunk_store(settings)
        own = _own(settings.data_dir, place, make=claim)
        await check(engine, Keyspace(settings.tenant), open_blobs(place), own, claim=claim)
    except Misplaced as error:
        return str(error)
    finally:
        await engine.close()
    if claim:
        (settings.data_dir / ADOPT_FILE).unlink(missing_ok=True)
    return None


async def misplaced_contents(engine: Engine, settings: Settings) -> str | None:
    """Return why the chunk store that a node's settings name is not the store's; None: it is."""
    place = chunk_store(settings)
    chunk_store_id = await _id_of(open_blobs(place))

    async def work(tr: Transaction) -> Belonging | None:
        key = Keyspace(settings.tenant).belonging.key()
        return decode_optional(Belonging, await tr.get(key))

    known = await transact(engine, work)
    if known is not None and known.chunk_store_id == chunk_store_id:
        return None
    return (
        f"{place} is not on this machine what it is on the head's: chunk_store has to be gs://…, s3://… or a"
        " directory that all nodes have"
    )


def _own(data_dir: Path, place: str, *, make: bool) -> Own:
    file = data_dir / _ID_FILE
    if not file.exists() and make:
        file.write_text(f"d-{secrets.token_hex(8)}\n")
    known = file.read_text().strip() if file.exists() else ""
    adopts = (data_dir / ADOPT_FILE).exists()
    return Own(known, str(data_dir.resolve()), place, socket.gethostname(), adopts)


async def check(engine: Engine, keys: Keyspace, blobs: Blobs, own: Own, *, claim: bool) -> None:
    """Compare ids, and with ``claim`` write those that are missing.

    Raises Misplaced.
    """
    chunk_store_id = await _id_of(blobs)

    async def work(tr: Transaction) -> None:
        known = decode_optional(Belonging, await tr.get(keys.belonging.key()))
        if known is not None and not own.adopts:
            _compare(known, own, chunk_store_id)
        if claim and (known is None or own.adopts):
            mine = Belonging(
                deployment_id=own.deployment_id,
                chunk_store_id=chunk_store_id,
                data_dir=own.data_dir,
                chunk_store=own.chunk_store,
                host=own.host,
                since=time.time(),
            )
            tr.set(keys.belonging.key(), encode(mine))

    async def known() -> Belonging | None:
        async def reading(tr: Transaction) -> Belonging | None:
            return decode_optional(Belonging, await tr.get(keys.belonging.key()))

        return await transact(engine, reading)

    if claim and not chunk_store_id and (own.adopts or await known() is None):
        made = {"chunk_store_id": f"k-{secrets.token_hex(8)}"}
        await blobs.put(_ID_OBJECT, json.dumps(made).encode())
        chunk_store_id = await _id_of(blobs)  # of two at once the last one has written
    await transact(engine, work)


def _compare(known: Belonging, own: Own, chunk_store_id: str) -> None:
    if known.chunk_store_id != chunk_store_id:
        what = "is another one" if chunk_store_id else "is not it, or is empty"
        raise Misplaced(
            f"the store's contents are in the chunk store {known.chunk_store} of {known.host},"
            f" and {own.chunk_store} {what}",
            "set chunk_store to that place, or move what is in there here; if this is another server, give"
            " it a store_fdb_prefix or a tenant of its own; only if those contents are lost for good:"
            f" touch {own.data_dir}/{ADOPT_FILE}, and start again",
        )
    if known.deployment_id != own.deployment_id:
        raise Misplaced(
            f"the store belongs to the server of {known.data_dir} on {known.host}, and this one has the data"
            f" directory {own.data_dir}",
            "start that server, or give this one a store_fdb_prefix or a tenant of its own; if that server"
            f" is gone for good: touch {own.data_dir}/{ADOPT_FILE}, and start again",
        )


async def _id_of(blobs: Blobs) -> str:
    try:
        return str(json.loads(await blobs.read(_ID_OBJECT))["chunk_store_id"])
    except NotFound:
        return ""
    except (ValueError, KeyError, TypeError):
        raise Unavailable("chunk store", f"{_ID_OBJECT} in it is damaged") from None
