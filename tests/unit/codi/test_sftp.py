"""The file server of SFTP, packet by packet: what a client may send that no client of ours would."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.codi.agent.programs.own import resolved
from cluster.codi.agent.sftp import wire
from cluster.codi.agent.sftp.server import MAX_HANDLES, MAX_PACKET, SftpServer
from cluster.codi.agent.sftp.wire import BadPacket, number, string

NOTHING = number(0)
"""Attributes of which none is set."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = SftpServer(now=lambda: 0.0)
    yield made
    made.close()


def asked(server: SftpServer, kind: int, *parts: bytes) -> tuple[int, bytes]:
    """Send a request with the id 7; return the answer's kind and what stands behind the id."""
    answer = server.answer(bytes([kind]) + number(7) + b"".join(parts))
    assert int.from_bytes(answer[:4], "big") == len(answer) - 4
    assert answer[5:9] == number(7)
    return answer[4], answer[9:]


def code(answer: tuple[int, bytes]) -> int:
    assert answer[0] == wire.STATUS
    return int.from_bytes(answer[1][:4], "big")


def opened(server: SftpServer, path: bytes, flags: int) -> bytes:
    kind, rest = asked(server, wire.OPEN, string(path), number(flags), NOTHING)
    assert kind == wire.HANDLE
    return rest


def test_it_speaks_version_3_with_openssh_s_extensions(server):
    answer = server.answer(bytes([wire.INIT]) + number(3))
    assert answer[4:9] == bytes([wire.VERSION]) + number(3)
    assert b"posix-rename@openssh.com" in answer


def test_a_rename_leaves_what_is_there_alone(server, tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    assert code(asked(server, wire.RENAME, string(b"a"), string(b"b"))) == wire.FAILURE
    assert (tmp_path / "b").read_text() == "b"
    assert code(asked(server, wire.RENAME, string(b"a"), string(b"c"))) == wire.OK
    assert not (tmp_path / "a").exists()


def test_appending_writes_at_the_end_whatever_the_offset(server, tmp_path):
    (tmp_path / "log").write_text("one")
    handle = opened(server, b"log", 2 | 4)
    assert code(asked(server, wire.WRITE, handle, wire.long(0), string(b"two"))) == wire.OK
    assert (tmp_path / "log").read_text() == "onetwo"


def test_a_directory_is_listed_whole_in_pieces(server, tmp_path):
    names = {b".", b".."} | {b"%d\xff" % number for number in range(300)}
    for name in names - {b".", b".."}:
        open(os.path.join(os.fsencode(tmp_path), name), "wb").close()
    _, handle = asked(server, wire.OPENDIR, string(b"."))
    seen, pieces = set(), 0
    while (answer := asked(server, wire.READDIR, handle))[0] == wire.NAME:
        reader = wire.Reader(answer[1])
        for _ in range(reader.number()):
            seen.add(reader.string())
            reader.string()
            reader.attributes()
        pieces += 1
    assert (seen, code(answer)) == (names, wire.EOF)
    assert pieces > 1


@pytest.mark.parametrize(
    ("kind", "parts", "said"),
    [
        (wire.OPEN, (string(b"none"), number(1), NOTHING), wire.NO_SUCH_FILE),
        (wire.OPEN, (string(b"a\0b"), number(1), NOTHING), wire.FAILURE),
        (wire.READ, (string(b"9"), wire.long(0), number(1)), wire.FAILURE),
        (wire.CLOSE, (string(b"9"),), wire.FAILURE),
        (wire.READDIR, (string(b"9"),), wire.FAILURE),
        (wire.STAT, (number(1 << 31),), wire.BAD_MESSAGE),
        (wire.SETSTAT, (string(b"."), number(0xFFFFFFFF)), wire.BAD_MESSAGE),
        (99, (), wire.OP_UNSUPPORTED),
        (wire.EXTENDED, (string(b"nothing@example.com"),), wire.OP_UNSUPPORTED),
    ],
)
def test_what_cannot_be_done_is_said(server, kind, parts, said):
    assert code(asked(server, kind, *parts)) == said


def test_handles_are_bounded_and_closed_ones_come_back(server, tmp_path):
    (tmp_path / "f").write_text("x")
    handles = [opened(server, b"f", 1) for _ in range(MAX_HANDLES)]
    full = asked(server, wire.OPEN, string(b"f"), number(1), NOTHING)
    assert code(full) == wire.FAILURE
    assert code(asked(server, wire.CLOSE, handles[0])) == wire.OK
    opened(server, b"f", 1)


def test_a_read_far_behind_the_end_is_the_end(server, tmp_path):
    (tmp_path / "f").write_text("x")
    handle = opened(server, b"f", 1)
    assert code(asked(server, wire.READ, handle, wire.long(1 << 40), number(9))) == wire.EOF
    assert code(asked(server, wire.READ, handle, wire.long(1 << 63), number(9))) == wire.FAILURE


@settings(max_examples=200)
@given(st.sampled_from([wire.OPEN, wire.STAT, wire.READ, wire.EXTENDED, 0, 255]), st.binary())
def test_any_bytes_are_answered_or_refused(kind, rest):
    server = SftpServer()
    try:
        server.answer(bytes([kind]) + rest)
    except BadPacket:
        pass
    finally:
        server.close()


def test_the_program_ends_with_its_input_and_at_once_for_what_is_no_sftp():
    command = resolved(["codi:sftp-server"])
    assert command[0] == sys.executable
    hello = wire.packet(wire.INIT, number(3))
    done = subprocess.run(command, input=hello, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout[4]) == (0, wire.VERSION)
    for bad in (b"GET / HTTP/1.1\r\n\r\n", number(MAX_PACKET + 1), number(0)):
        done = subprocess.run(command, input=bad, capture_output=True, timeout=60, check=False)
        assert done.returncode == 1
        assert b"sftp" in done.stderr
