"""CODI's watcher, in this process: events, scans instead of events, and bounded marks."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select

import pytest

from cluster.codi.agent.changes import inotify
from cluster.codi.agent.changes import watcher as watching
from cluster.codi.agent.changes.feed import MAX_MARKS, ROOT, Feed, Mark, outermost
from cluster.codi.agent.changes.watcher import Watcher
from cluster.codi.agent.files import temporary
from cluster.codi.agent.files.removing import remove_tree


async def in_thread(work, *arguments):
    return await asyncio.to_thread(work, *arguments)


@pytest.fixture
async def watcher(tmp_path):
    made = Watcher(str(tmp_path), frozenset({b"left-out"}), in_thread)
    yield made
    made.close()


async def reported(watcher, cursor, path):
    """Wait until a path is reported, by itself or with all the rest."""
    async with asyncio.timeout(60):
        while True:
            found = await watcher.wait(False, cursor, 5.0, 100)
            cursor = found.cursor
            if any(mark in {Mark(path, False), Mark(ROOT, True)} for mark in found.marks):
                return cursor


async def all_watched(watcher):
    """Wait until the watcher is done with the directories that it found."""
    async with asyncio.timeout(60):
        while watcher._watching is not None and not watcher._watching.done():
            await asyncio.wait({watcher._watching})


async def test_everything_is_a_change_to_a_new_follower(watcher):
    assert (await watcher.wait(True, -1, 0, 10)).marks == [Mark(ROOT, True)]


async def test_a_change_is_reported_until_it_is_acknowledged(watcher, tmp_path):
    first = await watcher.wait(True, -1, 0, 10)
    (tmp_path / "a").touch()
    cursor = await reported(watcher, first.cursor, b"a")
    again = await watcher.wait(False, first.cursor, 0, 10)
    assert again.marks[-1] == Mark(b"a", False)
    assert (await watcher.wait(False, cursor, 0, 10)).marks == []


async def test_of_what_is_excluded_only_that_it_is_there_is_reported(watcher, tmp_path):
    first = await watcher.wait(True, -1, 0, 10)
    (tmp_path / "left-out").mkdir()
    cursor = await reported(watcher, first.cursor, b"left-out")
    (tmp_path / "left-out" / "inner").touch()
    (tmp_path / temporary.new_name().decode()).touch()
    (tmp_path / ".codi-0123456789abcdef").touch()
    await reported(watcher, cursor, b".codi-0123456789abcdef")
    everything = await watcher.wait(False, cursor, 0, 10)
    assert [mark.path for mark in everything.marks] == [b".codi-0123456789abcdef"]


@pytest.mark.parametrize("at", ["start", "add"])
async def test_without_file_events_changes_are_found_by_scanning(
    watcher, tmp_path, monkeypatch, at
):
    def refuse(*_):
        raise OSError(errno.ENOSPC if at == "add" else errno.EMFILE, "limit")

    if at == "start":
        monkeypatch.setattr(inotify, "Inotify", refuse)
    else:
        monkeypatch.setattr(inotify.Inotify, "add", refuse)
    monkeypatch.setattr(watching, "_SCAN_SECONDS", 0.05)
    cursor = (await watcher.wait(True, -1, 0, 10)).cursor
    (tmp_path / "d").mkdir()
    cursor = await reported(watcher, cursor, b"d")
    (tmp_path / "d" / "f").write_bytes(b"1")
    cursor = await reported(watcher, cursor, b"d/f")
    (tmp_path / "d" / "f").unlink()
    await reported(watcher, cursor, b"d/f")
    assert watcher.scanning


async def test_scans_miss_nothing_of_their_beginning_nor_of_one_tick_of_the_clock(
    tmp_path, monkeypatch
):
    scanned = asyncio.Semaphore(0)

    async def run(work, *arguments):
        """Change a file behind each scan, so quickly that its times and size stay as they were."""
        result = await asyncio.to_thread(work, *arguments)
        if work.__name__ == "_scan" and scanned._value < 2:
            (tmp_path / "f").write_bytes(b"2")
            for path in result:  # as if the clock had not moved
                status = os.lstat(tmp_path / os.fsdecode(path))
                result[path] = (status.st_ino, status.st_ctime_ns, *result[path][2:])
            scanned.release()
        return result

    def refuse(*_):
        raise OSError(errno.EMFILE, "limit")

    monkeypatch.setattr(inotify, "Inotify", refuse)
    monkeypatch.setattr(watching, "_SCAN_SECONDS", 0.01)
    monkeypatch.setattr(watching, "_CLOCK_NANOSECONDS", 10**15)
    (tmp_path / "f").write_bytes(b"1")
    watcher, heard = Watcher(str(tmp_path), frozenset(), run), asyncio.Queue()
    watcher.listeners.add(lambda path, tree: heard.put_nowait((path, tree)))
    try:
        await watcher.begin()
        # What was there before the first scan has ended: all of it may have changed.
        assert await asyncio.wait_for(heard.get(), 20) == (ROOT, True)
        monkeypatch.setattr(watching, "_CLOCK_NANOSECONDS", 0)
        assert await asyncio.wait_for(heard.get(), 20) in {(b"f", False), (ROOT, False)}
    finally:
        watcher.close()


async def test_a_scan_that_nobody_waits_for_rests_until_somebody_does(
    watcher, tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.EMFILE, "limit")

    rests = asyncio.Event()

    class Wanted(asyncio.Event):
        async def wait(self):
            rests.set()
            return await super().wait()

    monkeypatch.setattr(inotify, "Inotify", refuse)
    monkeypatch.setattr(watching, "_SCAN_SECONDS", 0.0)
    monkeypatch.setattr(watching, "_IDLE_SECONDS", 3600.0)
    watcher._wanted, watcher._asked_at = Wanted(), -1e9
    await watcher.begin()
    await asyncio.wait_for(rests.wait(), 20)
    cursor = (await watcher.wait(False, 0, 0, 10)).cursor
    (tmp_path / "later").touch()
    await reported(watcher, cursor, b"later")


def test_too_many_marks_become_one_of_everything():
    feed = Feed(limit=3)
    for name in (b"a", b"b", b"c"):
        feed.mark(name)
    feed.mark(b"a")
    assert [mark.path for mark in feed.changes(10).marks] == [b"b", b"c", b"a"]
    feed.mark(b"d")
    assert feed.changes(10).marks == [Mark(ROOT, True)]
    assert MAX_MARKS > 1000


def test_a_mark_made_after_the_question_outlives_its_cursor():
    feed = Feed()
    feed.mark(b"a")
    first = feed.changes(10)
    feed.mark(b"a")
    feed.acknowledge(first.cursor)
    assert feed.changes(10).marks == [Mark(b"a", False)]
    feed.mark(b"a", tree=True)
    feed.mark(b"a")
    assert feed.changes(10).marks == [Mark(b"a", True)]


def test_marks_are_reported_in_parts():
    feed = Feed()
    for number in range(5):
        feed.mark(b"%d" % number)
    first = feed.changes(2)
    assert len(first.marks) == 2
    feed.acknowledge(first.cursor)
    assert [mark.path for mark in feed.changes(9).marks] == [b"2", b"3", b"4"]


async def test_directories_are_watched_as_deep_as_they_are_archived(watcher, tmp_path):
    levels, watched = 2500, 2000
    current = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    root = os.dup(current)
    try:
        for level in range(1, levels + 1):
            os.mkdir("d", dir_fd=current)
            following = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = following
            if level == watched:
                deepest = os.dup(current)
        first = await watcher.wait(True, -1, 0, 10)
        assert len(watcher._paths) == watched + 1
        for directory in (current, deepest):
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        found = await watcher.wait(False, first.cursor, 20.0, 100)
        assert [mark.path for mark in found.marks] == [b"d/" * watched + b"file"]
        assert not watcher.scanning
    finally:
        watcher.close()
        os.close(current)
        os.close(deepest)
        remove_tree(root, b"d")
        os.close(root)


async def test_a_directory_made_while_others_are_watched_is_watched(tmp_path):
    async def slowly(work, *arguments):
        """Make a directory behind what the work has seen, and have its event read before it is known."""
        result = await asyncio.to_thread(work, *arguments)
        if (tmp_path / "d").is_dir() and not (tmp_path / "d" / "late").is_dir():
            (tmp_path / "d" / "late").mkdir()
            while select.select([watcher._events.fd], [], [], 0)[0]:  # noqa: ASYNC110
                await asyncio.sleep(0)
        return result

    watcher = Watcher(str(tmp_path), frozenset(), slowly)
    try:
        first = await watcher.wait(True, -1, 0, 10)
        (tmp_path / "d").mkdir()
        cursor = await reported(watcher, first.cursor, b"d/late")
        await all_watched(watcher)
        (tmp_path / "d" / "late" / "file").touch()
        await reported(watcher, cursor, b"d/late/file")
    finally:
        watcher.close()


async def test_directories_that_appear_in_one_another_are_looked_into_once(
    watcher, tmp_path, monkeypatch
):
    levels, looked = 200, 0
    add_open = inotify.Inotify.add_open

    def dug(events, directory):
        """Make the next directory behind each that is watched: it has an event, and is listed as well."""
        nonlocal looked
        looked += 1
        watch = add_open(events, directory)
        with contextlib.suppress(FileExistsError):
            if looked <= levels:
                os.mkdir("d", dir_fd=directory)
        return watch

    monkeypatch.setattr(inotify.Inotify, "add_open", dug)
    first = await watcher.wait(True, -1, 0, 10)
    await all_watched(watcher)
    (tmp_path / "/".join("d" * 100) / "file").touch()
    await reported(watcher, first.cursor, b"d/" * 100 + b"file")
    assert levels < looked < 3 * levels


def test_the_outermost_directories_hold_all_others():
    assert outermost([b"a/b", b"a", b"a-b/c", b"ab", b"a/b/c", b"a"]) == [b"a-b/c", b"a", b"ab"]
    assert outermost([b"a", ROOT]) == [ROOT]
    assert outermost([]) == []
    feed = Feed()
    for path in (b"a/b", b"a", b"c/d"):
        feed.mark(path, tree=True)
    reported = feed.changes(10)
    assert reported.marks == [Mark(b"a/b", False), Mark(b"a", True), Mark(b"c/d", True)]
    assert feed.changes(1).marks == [Mark(b"a/b", True)]
