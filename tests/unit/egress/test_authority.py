"""A node's own authority: made once, read by its owner, and what it vouches for."""

from __future__ import annotations

import ssl
import time

import pytest

from cluster.egress import authority
from cluster.egress.authority import Authority

NOW = 1_790_000_000.0


def test_an_authority_is_made_once_and_read_by_its_owner_alone(tmp_path):
    first = authority.certificate(tmp_path, NOW)
    assert authority.certificate(tmp_path, NOW + 1) == first
    assert authority.file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in first
    authority.file(tmp_path).write_text("damaged")
    with pytest.raises(OSError, match="no certificate"):
        authority.certificate(tmp_path, NOW)


def is_trusted(served: ssl.SSLContext, host: str, certificate: str) -> bool:
    """Return whether a client that trusts an authority takes a server to be the host."""
    client = ssl.create_default_context(cadata=certificate)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=host),
        served.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True


def test_an_authority_that_was_replaced_vouches_from_then_on(tmp_path):
    made = Authority(tmp_path, time.time)
    former = made.context("u", "a.test")
    first = authority.certificate(tmp_path, time.time())
    assert is_trusted(former, "a.test", first)
    assert made.context("u", "a.test") is former
    authority.file(tmp_path).unlink()
    second = authority.certificate(tmp_path, time.time())
    assert is_trusted(made.context("u", "a.test"), "a.test", second)
    assert not is_trusted(made.context("u", "a.test"), "a.test", first)
    assert not is_trusted(made.context("u", "a.test"), "b.test", second)


def test_many_hosts_of_a_user_have_those_of_nobody_else_made_again(tmp_path):
    made = Authority(tmp_path, time.time)
    one = made.context("one", "a.test")
    own = made.context("many", "a.test")
    for number in range(authority._HOSTS):
        made.context("many", f"h{number}.test")
    assert made.context("one", "a.test") is one
    assert made.context("many", "a.test") is not own
