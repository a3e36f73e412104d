"""Compares a directory, and all below it, with the manifest; page by page, however many names it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from actors.core.records.archive import Reason
from actors.core.records.sessions import Route
from cluster.archive import diff as plan
from cluster.archive.diff import Difference
from cluster.archive.manifest_view import ManifestView
from cluster.codi.feed_client import FeedClient
from cluster.store.layers.entries import Entry

LISTED_AT_ONCE = 200

Turn = Callable[[], AbstractAsyncContextManager[None]]


async def differences(
    client: FeedClient, route: Callable[[], Route], known: ManifestView, tree: bytes, turn: Turn
) -> AsyncIterator[Difference]:
    """Yield what is different below ``tree`` (empty: the workspace). Each page is a turn's work."""
    left, after = [tree], None
    while left:
        batch, left = left[-LISTED_AT_ONCE:], left[:-LISTED_AT_ONCE]
        # The first one is where a page before has ended.
        batch.reverse()
        texts = [_text(path) or "." for path in batch]
        async with turn():
            listed = await client.listings(route(), texts, _text(after) if after else None)
            pages = [
                (path, found, after if number == 0 else None, _raw(last))
                for number, (path, (_, found, last)) in enumerate(zip(batch, listed, strict=False))
            ]
            compared = await asyncio.gather(*(_compare(known, *page) for page in pages))
        left += reversed(batch[len(listed) :])
        after = None
        for (path, _, _, last), difference in zip(pages, compared, strict=True):
            left += difference.inside
            if last is not None:
                unfinished, after = path, last
            yield difference
        if after is not None:
            left.append(unfinished)


async def _compare(
    known: ManifestView,
    directory: bytes,
    found: list[Any] | bool | None,
    after: bytes | None,
    last: bytes | None,
) -> Difference:
    """Compare a page of a directory: names behind ``after`` and up to ``last``."""
    if not isinstance(found, list):
        # False: its permissions hide what is in it. None: it is gone, which whoever holds it says.
        hidden = {directory: Reason.UNREADABLE} if found is False and directory else {}
        return Difference(left_out=hidden)
    before: dict[bytes, Entry] = {}
    with known.look([directory] if directory else None) as look:
        async for page in known.children(directory, after, last):
            before |= page
        difference = plan.of_listing(directory, found, before)
        difference.read.update(await known.settle(difference.same, look))
    return difference


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _raw(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")
