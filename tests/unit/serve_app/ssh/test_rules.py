"""What SSH clients may name and bring along, their places, and what a replica says of them."""

from __future__ import annotations

import pytest

from cluster.settings import Settings
from serve_app.ssh import places, rules
from serve_app.ssh.handover import MAX_BYTES, Entry, split
from serve_app.ssh.places import Place
from serve_app.ssh.rules import SessionById, SessionByName, parse_user
from serve_app.ssh.seats import MAX_STRANGERS, MAX_STRANGERS_PER_PLACE, Seats, place_of

ENTRY = Entry("u-1", "f-1", 3, "s-1", "203.0.113.9", "OpenSSH")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("s-3fq2h5vtklhb2k7n4zqa", SessionById("s-3fq2h5vtklhb2k7n4zqa")),
        ("work", SessionById("work")),
        ("", SessionById("")),
        ("ada@example.com", SessionByName("ada@example.com", "default")),
        ("work/ada@example.com", SessionByName("ada@example.com", "work")),
        ("/ada@example.com", SessionByName("ada@example.com", "default")),
        ("a@b/c@example.com", SessionByName("a@b/c@example.com", "default")),
    ],
)
def test_a_user_name_is_a_session_or_an_account(text, meant):
    assert parse_user(text) == meant


def test_only_harmless_variables_come_along():
    sent = {
        b"LANG": b"de_DE.UTF-8",
        b"LC_ALL": b"C",
        b"LC_X": b"a\nb",
        b"GIT_PROTOCOL": b"version=2",
        b"LD_PRELOAD": b"/tmp/x.so",
        b"PATH": b"/tmp",
        b"BASH_ENV": b"/tmp/x",
        b"LC_BAD": b"\xff",
        b"\xff": b"x",
    }
    kept = rules.environment(sent)
    assert kept == {"LANG": "de_DE.UTF-8", "LC_ALL": "C", "GIT_PROTOCOL": "version=2"}


def test_a_terminal_has_a_usable_name_and_size():
    assert rules.terminal_type("xterm-kitty") == "xterm-kitty"
    assert {rules.terminal_type(bad) for bad in ("", "a b", "x" * 99, "../x", "é")} == {
        "xterm-256color"
    }
    assert rules.terminal_size(0, 0) == (80, 24)
    assert rules.terminal_size(1 << 31, 7) == (1000, 7)


def test_no_algorithm_of_yesterday_is_offered():
    offered = " ".join((*rules.KEX, *rules.CIPHERS, *rules.MACS, *rules.SIGNATURES))
    for old in ("sha1", "cbc", "md5", "group", "3des", "arcfour", "dss"):
        assert old not in offered
    assert "ssh-rsa" not in rules.SIGNATURES


def test_strangers_of_one_place_take_no_place_from_others():
    seats = Seats(per_user=2, in_all=3)
    taken = [seats.enter("203.0.113.9") for _ in range(100)]
    assert sum(place is not None for place in taken) == MAX_STRANGERS_PER_PLACE
    assert seats.enter("203.0.113.10") == "203.0.113.10"
    seats.leave("203.0.113.9")
    assert seats.enter("203.0.113.9") is not None
    for number in range(1000):
        seats.enter(f"2001:db8:{number:x}::1")
    assert seats.strangers.total() == MAX_STRANGERS


def test_a_household_counts_as_one_place():
    assert place_of("2001:db8::1") == place_of("2001:db8::ffff:2") == "2001:db8::/64"
    assert place_of("::ffff:203.0.113.9") == "::ffff:203.0.113.9"
    assert place_of("nonsense") == "nonsense"


def test_a_user_has_so_many_seats_and_all_together_so_many():
    seats = Seats(per_user=2, in_all=3)
    assert [seats.sit("u-1"), seats.sit("u-1")] == [None, None]
    assert "2 connections" in str(seats.sit("u-1"))
    assert seats.sit("u-2") is None
    assert "as many connections" in str(seats.sit("u-3"))
    seats.stand_up("u-1")
    assert seats.sit("u-3") is None
    assert dict(seats.users) == {"u-1": 1, "u-2": 1, "u-3": 1}


def test_a_handover_is_taken_whole_or_not_at_all():
    frame = ENTRY.encode()
    for end in range(len(frame)):
        assert split(frame[:end]) is None
    assert split(frame + b"SSH-2.0-x\r\n") == (ENTRY, b"SSH-2.0-x\r\n")
    for bad in (b"\0\0\0\2{}", b"\0\0\0\2[]", b"\0\0\0\1x", (MAX_BYTES + 1).to_bytes(4, "big")):
        with pytest.raises(ValueError, match="handover"):
            split(bad)


def test_the_port_that_was_chosen_is_kept(tmp_path):
    settings = Settings(data_dir=tmp_path, host="0.0.0.0")
    assert places.read(tmp_path) is None
    first = places.candidates(settings, None)
    assert (first[0], first[-1]) == (2222, 0)
    places.write(settings, Place("0.0.0.0", 2299))
    kept = places.read(tmp_path)
    assert places.candidates(settings, kept)[:2] == [2299, 2222]
    fixed = settings.model_copy(update={"ssh_port": 22022, "ssh_host": "192.0.2.1"})
    assert places.candidates(fixed, kept) == [22022]
    assert (places.host_of(settings), places.host_of(fixed)) == ("0.0.0.0", "192.0.2.1")
    assert places.reachable(kept, "https://work.example:8443/") == "work.example"
    assert places.reachable(Place("192.0.2.1", 22), "https://work.example/") == "192.0.2.1"
    (tmp_path / "ssh.json").write_text("[]")
    assert places.read(tmp_path) is None
