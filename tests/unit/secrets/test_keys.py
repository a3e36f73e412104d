"""Sealing: keys, their rotation, and that nothing opens where it does not belong."""

from __future__ import annotations

import itertools

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import InvalidArgument
from cluster.secrets import key_file
from cluster.secrets.keys import KEY_BYTES, Place, SecretKeys, SecretLocked, encode_key
from cluster.settings import Settings

OLD, NEW = bytes(KEY_BYTES), bytes(range(KEY_BYTES))
PLACE = Place("t", "u-1", "TOKEN", None)


def sealed(keys: SecretKeys, value: str = "hunter2", place: Place = PLACE) -> str:
    numbers = itertools.count()
    return keys.seal(value, place, lambda count: bytes([next(numbers)] * count))


def test_what_is_sealed_opens_with_its_key_and_shows_nothing():
    keys = SecretKeys.of([NEW])
    stored = sealed(keys, "größe 🔑")
    assert keys.open(keys.current, stored, PLACE) == "größe 🔑"
    assert "größe".encode().hex() not in stored


def test_the_same_value_is_never_sealed_alike():
    keys = SecretKeys.of([NEW])
    nonces = itertools.count()

    def draw(count: int) -> bytes:
        return next(nonces).to_bytes(count, "big")

    assert keys.seal("x", PLACE, draw) != keys.seal("x", PLACE, draw)


@pytest.mark.parametrize(
    "elsewhere",
    [
        Place("other", "u-1", "TOKEN", None),
        Place("t", "u-2", "TOKEN", None),
        Place("t", "u-1", "OTHER", None),
        Place("t", "u-1", "TOKEN", "api.example.com"),
        Place('t", "u-1', "", "TOKEN", None),
    ],
)
def test_what_was_put_elsewhere_does_not_open(elsewhere):
    keys = SecretKeys.of([NEW])
    with pytest.raises(SecretLocked, match="changed or moved"):
        keys.open(keys.current, sealed(keys), elsewhere)


@pytest.mark.parametrize("position", [0, 12, -1])
def test_a_changed_bit_does_not_open(position):
    keys = SecretKeys.of([NEW])
    data = bytearray.fromhex(sealed(keys))
    data[position] ^= 1
    with pytest.raises(SecretLocked):
        keys.open(keys.current, data.hex(), PLACE)


@pytest.mark.parametrize("stored", ["", "00", "no hex", "00" * 12])
def test_what_was_never_sealed_does_not_open(stored):
    keys = SecretKeys.of([NEW])
    with pytest.raises(SecretLocked):
        keys.open(keys.current, stored, PLACE)


def test_the_first_key_seals_and_all_open():
    old = SecretKeys.of([OLD])
    stored = sealed(old)
    both = SecretKeys.of([NEW, OLD])
    assert both.current != old.current
    assert both.open(old.current, stored, PLACE) == "hunter2"
    new = SecretKeys.of([NEW])
    assert new.open(both.current, sealed(both), PLACE) == "hunter2"
    with pytest.raises(SecretLocked, match=old.current):
        new.open(old.current, stored, PLACE)


def test_keys_are_read_from_lines_and_lists():
    lines = f"# a comment\n{encode_key(NEW)} # the newest\n\n{encode_key(OLD)}\n"
    listed = f"{encode_key(NEW)},{encode_key(OLD)}"
    assert (
        SecretKeys.parse(lines).ids == SecretKeys.parse(listed).ids == SecretKeys.of([NEW, OLD]).ids
    )
    assert SecretKeys.parse(encode_key(b"\xff" * KEY_BYTES).replace("/", "_")).ids


@pytest.mark.parametrize(
    "text", ["", "# nothing", "c2hvcnQ=", "!" * 44, ",".join([encode_key(OLD)] * 17)]
)
def test_wrong_keys_are_refused_and_not_repeated(text):
    with pytest.raises(InvalidArgument) as refused:
        SecretKeys.parse(text)
    assert not text.strip("#, nothig") or text not in str(refused.value)


def test_keys_show_no_key():
    assert encode_key(NEW) not in repr(SecretKeys.of([NEW]))
    assert NEW.hex() not in repr(SecretKeys.of([NEW]))


# ---- where they are ---------------------------------------------------------------------------------


def test_the_first_start_makes_a_key_that_stays_and_is_ones_own(tmp_path):
    settings = Settings(data_dir=tmp_path)
    assert key_file.make(settings)
    made = tmp_path / "secret.key"
    assert made.stat().st_mode & 0o777 == 0o600
    keys = key_file.load(settings)
    assert not key_file.make(settings)
    assert key_file.load(settings).ids == keys.ids
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_keys_of_the_settings_are_used_and_none_is_made(tmp_path):
    settings = Settings(data_dir=tmp_path, secret_key=encode_key(NEW))
    assert not key_file.make(settings)
    assert key_file.load(settings).ids == SecretKeys.of([NEW]).ids
    assert list(tmp_path.iterdir()) == []
    place = tmp_path / "keys"
    place.write_text(encode_key(OLD))
    other = Settings(data_dir=tmp_path / "none", secret_key_file=place)
    assert key_file.load(other).ids == SecretKeys.of([OLD]).ids


def test_without_the_file_the_answer_says_where_it_should_be(tmp_path):
    with pytest.raises(Unavailable, match=r"secret\.key"):
        key_file.load(Settings(data_dir=tmp_path))
    with pytest.raises(Unavailable):
        key_file.make(Settings(data_dir=tmp_path / "missing"))
