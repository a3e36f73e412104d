"""How secrets become headers, and what cannot be one."""

from __future__ import annotations

import pytest

from actors.core.records.environment import Binding, SecretUse
from cluster.egress import binding
from cluster.secrets.keys import KEY_BYTES, Place, SecretKeys, SecretLocked


def test_headers():
    assert binding.header(Binding(), "abc") == (b"Authorization", b"Bearer abc")
    basic = Binding(use=SecretUse.BASIC, username="Aladdin")  # the example of RFC 7617
    assert binding.header(basic, "open sesame")[1] == b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    own = Binding(use=SecretUse.HEADER, header="X-Api-Key")
    assert binding.header(own, "abc") == (b"X-Api-Key", b"abc")


@pytest.mark.parametrize("value", ["q\r\nX: y", "q\n", "ä", " q", "q ", "\x7f", "x" * 9000])
def test_what_no_header_carries_is_refused_without_repeating_it(value):
    for bound in (Binding(), Binding(use=SecretUse.HEADER, header="X-Key")):
        with pytest.raises(ValueError, match="value") as refused:
            binding.check(bound, value)
        assert value not in str(refused.value)


def test_passwords_may_be_of_any_characters():
    binding.check(Binding(use=SecretUse.BASIC, username="ä"), "ö\n")


def test_ports_are_the_usual_ones_unless_named():
    assert Binding(https=True).place("a.test") == ("a.test", 443)
    assert Binding().place("a.test") == ("a.test", 80)
    assert Binding(https=True).place("a.test:81") == ("a.test", 81)


def test_a_sealed_value_opens_for_what_it_is_bound_to_alone():
    keys = SecretKeys.of([bytes(KEY_BYTES)])
    secure = Binding(https=True)
    sealed = keys.seal("s", Place("t", "u", "A", "a.test", secure), bytes)
    for other in (None, Binding(), Binding(https=True, use=SecretUse.HEADER, header="X")):
        with pytest.raises(SecretLocked):
            keys.open(keys.current, sealed, Place("t", "u", "A", "a.test", other))
    assert keys.open(keys.current, sealed, Place("t", "u", "A", "a.test", secure)) == "s"
