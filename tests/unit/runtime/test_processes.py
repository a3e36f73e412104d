from __future__ import annotations

import asyncio
import os
import signal

from cluster.runtime import processes as identity
from cluster.runtime.processes import parse_stat

LINE = (
    "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 3 0 98765 1024 55 "
    "18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)


def test_a_command_with_parentheses_does_not_confuse_the_fields():
    stat = parse_stat(LINE)
    assert (stat.command, stat.state, stat.parent) == ("a) b (c", "S", 7)
    assert (stat.cpu_ticks, stat.start_ticks, stat.resident_pages) == (33, 98765, 55)
    assert not stat.ended


def test_this_process_is_itself_and_not_one_that_started_at_another_time():
    me = identity.identify(os.getpid())
    assert identity.is_alive(me)
    assert not identity.is_alive(me.model_copy(update={"start_ticks": me.start_ticks + 1}))
    assert not identity.is_alive(me.model_copy(update={"boot_id": "another"}))
    assert identity.age_seconds(me) >= 0


def test_a_signal_for_somebody_who_had_the_pid_before_reaches_nobody():
    me = identity.identify(os.getpid())
    former = me.model_copy(update={"start_ticks": me.start_ticks - 1})
    assert identity.open_pidfd(former) is None
    assert identity.send_signal(former, signal.SIGKILL) is False


def start_a_shell_that_reads(fd):
    """Start a child that ends when the other end of a pipe is closed."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, 0)]
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "read -r _"], os.environ, file_actions=actions)
    os.close(fd)
    return pid


def reap(pid):
    os.waitpid(pid, 0)


async def test_the_end_of_a_process_is_seen_and_a_zombie_counts_as_ended():
    reader, writer = os.pipe()
    pid = start_a_shell_that_reads(reader)
    process = identity.identify(pid)
    assert pid in identity.children(os.getpid())
    assert pid in identity.descendants(os.getpid())
    waiting = asyncio.create_task(identity.wait_end(process))
    await asyncio.sleep(0)
    assert not waiting.done()
    os.close(writer)
    await asyncio.wait_for(waiting, 60)
    assert identity.identify(pid) is None  # not reaped yet, and still: ended
    reap(pid)
    await asyncio.wait_for(identity.wait_end(process), 60)


def test_the_children_of_a_process_that_is_gone_are_not_searched_for(monkeypatch):
    reader, writer = os.pipe()
    pid = start_a_shell_that_reads(reader)
    os.close(writer)
    reap(pid)
    monkeypatch.delattr(identity, "all_stats")
    assert identity.children(pid) == []


async def test_a_process_that_does_not_end_in_time_is_reported():
    assert not await identity.ends_within(identity.identify(os.getpid()), 0.01)
