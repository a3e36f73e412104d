"""Watches the workspace for one follower: inotify where the limits allow it, else repeated scans.

Not watchfiles: it decodes names as UTF-8, brings anyio, and gives no say in what is excluded before a
watch is spent on it. Watches are few (``max_user_watches`` and ``max_user_instances`` count for all
containers of a user together), so nothing is watched until somebody follows.

The order that loses nothing: a directory is watched first and walked afterwards, so that whatever is
made in it meanwhile is seen by one or the other. Changes through a memory map raise no event
(inotify(7)); they are found when the file is closed, and by the walk when a follower begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from cluster.codi.agent.changes import inotify
from cluster.codi.agent.changes.feed import ROOT, Changes, Feed, outermost
from cluster.codi.agent.files.paths import Workspace
from cluster.codi.agent.files.temporary import is_temporary

Run = Callable[..., Any]

_SETTLE_SECONDS = 0.02
_SCAN_SECONDS = 1.0
_SCAN_DUTY = 0.05
_IDLE_SECONDS = 120.0
_CLOCK_NANOSECONDS = 20_000_000
_MAX_UNWATCHED = 1000
_MAX_PATH = 4000
"""The content of a directory of a longer path is not archived, and so not watched."""
_COMES_OR_GOES = inotify.CREATE | inotify.MOVED_TO | inotify.DELETE | inotify.MOVED_FROM


class Watcher:
    """The changes of one workspace. ``run`` works in a thread and returns an awaitable.

    Belongs to the event loop. ``wait`` starts the watching; ``close`` ends it.
    """

    def __init__(self, workspace: str, excludes: frozenset[bytes], run: Run) -> None:
        self._workspace = Workspace(workspace)
        self._excludes = excludes
        self._run = run
        self._feed = Feed()
        self._paths: dict[int, bytes] = {}
        self._unwatched: set[bytes] = set()
        self._watching: asyncio.Task[None] | None = None
        self._events: inotify.Inotify | None = None
        self._started = False
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._asked_at = 0.0
        self._wanted = asyncio.Event()
        self.scanning = False
        self.listeners: set[Callable[[bytes, bool], None]] = set()
        """Are told of each path that changes; true: of all below it, as some of it may not have been seen."""

    async def wait(self, follower_is_new: bool, after: int, seconds: float, limit: int) -> Changes:
        """Acknowledge ``after`` and return what changed since; waits for something, within the time.

        To a follower that is new everything is a change.
        """
        self.asked()
        await self.begin()
        if follower_is_new:
            self.mark_tree(ROOT)
        else:
            self._feed.acknowledge(after)
        if not len(self._feed) and seconds > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(_SETTLE_SECONDS)  # what comes together is reported together
        self.asked()
        return self._feed.changes(limit)

    async def begin(self) -> None:
        """Start the watching, unless that is done."""
        if not self._started:
            self._started = True
            await self._start()

    def asked(self) -> None:
        """Note that somebody wants to know of changes."""
        self._asked_at = time.monotonic()
        self._wanted.set()

    def _tell(self, path: bytes, *, tree: bool) -> None:
        for listener in list(self.listeners):
            listener(path, tree)

    def mark_tree(self, path: bytes) -> None:
        """Have everything below a directory looked at."""
        self._feed.mark(path, tree=True)
        self._changed.set()

    def is_excluded(self, name: bytes) -> bool:
        """Return whether a name is left out, wherever it lies."""
        return name in self._excludes or is_temporary(name)

    def close(self) -> None:
        """End watching."""
        for task in self._tasks:
            task.cancel()
        if self._resume is not None:
            self._resume.cancel()
        if self._events is not None:
            self._stop_events(self._events)

    # ---- inotify --------------------------------------------------------------------------------

    async def _start(self) -> None:
        try:
            self._events = inotify.Inotify()
        except OSError as error:
            self._scan_instead(error)
            return
        asyncio.get_running_loop().add_reader(self._events.fd, self._read)
        await self._watch_below(ROOT)

    def _read(self) -> None:
        events = self._events
        if events is None:
            return
        for event in events.read():
            self._note(event)
        # A program that writes without pause makes an event a write; read them a few at a time, since
        # the kernel merges those that wait and are alike.
        loop = asyncio.get_running_loop()
        loop.remove_reader(events.fd)
        self._resume = loop.call_later(_SETTLE_SECONDS, self._read_on)

    def _read_on(self) -> None:
        if self._events is not None:
            asyncio.get_running_loop().add_reader(self._events.fd, self._read)

    def _note(self, event: inotify.Event) -> None:
        if event.mask & inotify.OVERFLOW:
            self.mark_tree(ROOT)
            self._tell(ROOT, tree=True)
            self._watch_soon(ROOT)
            return
        if event.mask & inotify.IGNORED:
            self._paths.pop(event.watch, None)
            return
        directory = self._paths.get(event.watch)
        if directory is None or is_temporary(event.name):
            return
        path = _join(directory, event.name)
        appeared = event.mask & (inotify.CREATE | inotify.MOVED_TO)
        if event.name in self._excludes:
            # That it is there is reported, and nothing more of it.
            if not event.mask & _COMES_OR_GOES:
                return
        elif event.mask & inotify.IS_DIRECTORY and appeared:
            self._watch_soon(path)
        self._feed.mark(path)
        self._tell(path, tree=False)
        self._changed.set()

    def _watch_soon(self, path: bytes) -> None:
        """Watch a directory that appeared; one task does so for all of them."""
        if len(self._unwatched) >= _MAX_UNWATCHED:
            self._unwatched.clear()
            path = ROOT
        self._unwatched.add(path)
        if self._watching is None or self._watching.done():
            self._watching = self._spawn(self._watch_appeared())

    async def _watch_appeared(self) -> None:
        while self._unwatched:
            appeared = outermost(self._unwatched)
            self._unwatched.clear()
            for path in appeared:
                await self._watch_below(path)

    async def _watch_below(self, path: bytes) -> None:
        """Watch a directory and all below it; then have them looked at."""
        events = self._events
        if events is None:
            return
        try:
            await self._run(self._add_watches, events, path)
        except OSError as error:
            if self._events is events:
                self._stop_events(events)
                self._scan_instead(error)
        self.mark_tree(path)
        self._tell(path, tree=True)

    def _add_watches(self, events: inotify.Inotify, path: bytes) -> None:
        """Watch directories, each before it is looked into: what comes later has an event of its own.

        So those that are watched already need no look, unless events were lost.
        """
        left = [path]
        while left:
            directory = left.pop()
            if len(directory) > _MAX_PATH:
                continue
            try:
                with self._opened(directory) as fd:
                    watch = events.add_open(fd)
                    if self._paths.get(watch) == directory and path != ROOT:
                        continue
                    self._paths[watch] = (
                        directory  # at once: events of it may come while others are added
                    )
                    left += [
                        _join(directory, name)
                        for entry in _entries(fd)
                        if not self.is_excluded(name := os.fsencode(entry.name))
                        and entry.is_dir(follow_symlinks=False)
                    ]
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue

    def _stop_events(self, events: inotify.Inotify) -> None:
        asyncio.get_running_loop().remove_reader(events.fd)
        self._events = None
        self._paths.clear()
        events.close()

    # ---- scanning -------------------------------------------------------------------------------

    def _scan_instead(self, reason: OSError) -> None:
        print(f"codi: no file events ({reason}): scanning", file=sys.stderr)  # noqa: T201 - the log
        self.scanning = True
        self._spawn(self._scan_forever())

    async def _scan_forever(self) -> None:
        """Compare the tree with how it was, as often as costs a twentieth of the time at most."""
        known: dict[bytes, tuple[int, ...]] = await self._run(self._scan)
        # What has changed before, since somebody follows, is in it already.
        self.mark_tree(ROOT)
        self._tell(ROOT, tree=True)
        while True:
            began = time.monotonic()
            found: dict[bytes, tuple[int, ...]] = await self._run(self._scan)
            now = time.monotonic()
            for path in found.keys() | known.keys():
                if found.get(path) != known.get(path):
                    self._feed.mark(path)
                    self._tell(path, tree=False)
                    self._changed.set()
            known = found
            await asyncio.sleep(max(_SCAN_SECONDS, (now - began) / _SCAN_DUTY))
            if time.monotonic() - self._asked_at > _IDLE_SECONDS:
                self._wanted.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await self._wanted.wait()

    def _scan(self) -> dict[bytes, tuple[int, ...]]:
        found: dict[bytes, tuple[int, ...]] = {}
        left, young = [ROOT], time.time_ns() - _CLOCK_NANOSECONDS
        while left:
            directory = left.pop()
            try:
                with self._opened(directory) as fd:
                    for entry in _entries(fd):
                        if is_temporary(name := os.fsencode(entry.name)):
                            continue
                        path = _join(directory, name)
                        if name in self._excludes:
                            found[path] = ()
                            continue
                        status = entry.stat(follow_symlinks=False)
                        changed = status.st_ctime_ns
                        # Written again within the same tick of the kernel's clock, it would look the
                        # same: the next scan reports it once more.
                        found[path] = status.st_ino, changed, status.st_size, changed > young
                        if stat.S_ISDIR(status.st_mode):
                            left.append(path)
            except OSError:
                continue
        return found

    @contextlib.contextmanager
    def _opened(self, directory: bytes) -> Iterator[int]:
        """Open a directory: a path may be longer than the kernel takes at once."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = self._workspace.open(directory, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _entries(directory: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as found:
        yield from found


def _join(directory: bytes, name: bytes) -> bytes:
    return name if directory == ROOT else directory + b"/" + name
