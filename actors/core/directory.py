"""Finds actors by name and calls them within time limits: the one place that looks names up in Ray.

Ray's look-ups block, and hang for a minute when the GCS is away; its calls have no time
limit. Here every look-up runs on a thread of its own small pool, every call and every
look-up ends within its limit, and Ray's errors become those of ``actors.core.errors``:

================================== ==========================================
what Ray says                      what the caller gets
================================== ==========================================
a ``CoditectError`` in the actor   that error, as it was raised
no such name, ``ActorDiedError``   ``ActorGone``: nothing restarts it
``ActorUnavailableError``, others  ``Unavailable``: Ray restarts it; try again
nothing in time                    ``DeadlineExceeded``: it may or may not have run
================================== ==========================================

A call runs at most once per ``call``, except that a handle found dead is looked up again by
name once. An error may come although the call ran, so mutating methods carry an idempotency key.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, cast

import ray
import ray.exceptions
import ray.util
from cachetools import LRUCache

from actors.core.calls import P, R, Ref, Takes
from actors.core.errors.base import ActorGone, CoditectError, DeadlineExceeded, Unavailable
from actors.core.names import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ray.actor import ActorHandle

T = TypeVar("T")


class ActorDirectory:
    """Finds actors by name, keeps their handles, and calls them within time limits.

    One per process; belongs to one event loop. ``lookup_seconds`` limits each question to the GCS;
    the least recently used of more than ``max_handles`` handles are forgotten.
    """

    def __init__(
        self,
        *,
        namespace: str = NAMESPACE,
        lookup_seconds: float = 5.0,
        max_handles: int = 4096,
        threads: int = 4,
    ) -> None:
        self._namespace = namespace
        self._lookup_seconds = lookup_seconds
        self._handles: LRUCache[str, ActorHandle[Any]] = LRUCache(max_handles)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="actor-directory")

    async def call(
        self,
        name: Ref[Takes],
        method: Callable[Concatenate[Takes, P], Awaitable[R]],
        timeout_seconds: float,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call a method of the actor called ``name`` and return its answer.

        ``timeout_seconds`` is the limit of the whole call here. Raises ActorGone, Unavailable,
        DeadlineExceeded, and whatever CoditectError the actor raised.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                cached = name in self._handles
                handle = await self.handle(name)
                try:
                    return cast(R, await self._invoke(handle, name, method.__name__, args, kwargs))
                except ActorGone:
                    self.forget(name)
                    if not cached:
                        raise
                    successor = await self.handle(name)
                    if successor == handle:
                        self.forget(name)
                        raise
                return cast(R, await self._invoke(successor, name, method.__name__, args, kwargs))
        except TimeoutError:
            raise DeadlineExceeded(f"{name}.{method.__name__}", timeout_seconds) from None

    async def handle(self, name: str) -> ActorHandle[Any]:
        """Return the handle of the actor called ``name``. Raises ActorGone, Unavailable."""
        known = self._handles.get(name)
        if known is not None:
            return known
        try:
            found = await self.run(ray.get_actor, str(name), self._namespace)
        except ValueError:
            raise ActorGone(name) from None
        self.remember(name, found)
        return found

    def remember(self, name: str, handle: ActorHandle[Any]) -> None:
        """Keep a handle that the caller has just made."""
        self._handles[name] = handle

    def forget(self, name: str) -> None:
        """Look the name up again at its next use."""
        self._handles.pop(name, None)

    async def names(self) -> list[str]:
        """Return the names of all actors that live or are being restarted. Raises Unavailable."""
        every = await self.run(ray.util.list_named_actors, True)  # noqa: FBT003 passed to a thread
        return [entry["name"] for entry in every if entry["namespace"] == self._namespace]

    async def create(self, name: str, make: Callable[[], ActorHandle[Any]]) -> ActorHandle[Any]:
        """Make an actor by a blocking function; one that has the name already is found instead."""
        try:
            handle = await self.run(make)
        except ray.exceptions.ActorAlreadyExistsError:
            self.forget(name)
            return await self.handle(name)
        self.remember(name, handle)
        return handle

    async def kill(self, name: str, *, restart: bool = False) -> None:
        """End an actor's process at once; without ``restart`` for good. Idempotent."""
        try:
            handle = await self.handle(name)
        except ActorGone:
            return
        if not restart:
            self.forget(name)
        await self.run(lambda: ray.kill(handle, no_restart=not restart))

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a blocking question to Ray on a thread, within the look-up limit.

        Raises Unavailable when Ray does not answer; ValueError passes (an unknown name).
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._lookup_seconds):
                return await loop.run_in_executor(self._executor, function, *args)
        except ValueError:
            raise
        except TimeoutError:
            raise Unavailable("ray", f"no answer within {self._lookup_seconds:g} s") from None
        except (ray.exceptions.RayError, RuntimeError, ConnectionError) as error:
            raise Unavailable("ray", _first_line(error)) from error

    def close(self) -> None:
        """Let go of the threads; a question under way ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._handles.clear()

    async def _invoke(
        self,
        handle: ActorHandle[Any],
        name: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        try:
            return await getattr(handle, method).remote(*args, **kwargs)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, CoditectError):
                raise error.cause from None
            raise
        except (ray.exceptions.ActorDiedError, ray.exceptions.ActorUnschedulableError) as error:
            raise ActorGone(name, _first_line(error)) from None
        except ray.exceptions.RayError as error:
            raise Unavailable(name, _first_line(error)) from None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
