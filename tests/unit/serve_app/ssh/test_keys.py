"""Public keys as people paste them: what is taken, and what is said of the rest."""

from __future__ import annotations

import base64
import subprocess

import asyncssh
import pytest

from actors.core.errors.requests import InvalidArgument
from serve_app.ssh import host_keys
from serve_app.ssh.keys import parse

LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ada@laptop"
GOOD = asyncssh.import_public_key(LINE)


def test_a_key_is_kept_without_its_comment_and_has_the_fingerprint_that_openssh_prints(tmp_path):
    found = parse(f"  {LINE} \n\n")
    assert found.line == " ".join(LINE.split()[:2])
    assert (found.algorithm, found.comment) == ("ssh-ed25519", "ada@laptop")
    file = tmp_path / "key.pub"
    file.write_text(LINE)
    printed = subprocess.run(
        ["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split()[1] == found.fingerprint == GOOD.get_fingerprint()


@pytest.mark.parametrize("algorithm", ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521"])
def test_elliptic_keys_are_taken(algorithm):
    key = asyncssh.generate_private_key(algorithm)
    assert parse(key.export_public_key().decode()).algorithm == algorithm


def test_a_security_keys_key_is_taken():
    point = GOOD.public_data[-32:]
    parts = (b"sk-ssh-ed25519@openssh.com", point, b"ssh:")
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    line = f"sk-ssh-ed25519@openssh.com {base64.b64encode(blob).decode()}"
    assert parse(line).line == line


def refused(text: str) -> str:
    with pytest.raises(InvalidArgument) as error:
        parse(text)
    assert error.value.field == "key"
    return error.value.reason


def test_what_is_weak_is_refused():
    weak = asyncssh.generate_private_key("ssh-rsa", key_size=2048).export_public_key().decode()
    assert "3072" in refused(weak)
    assert "ssh-keygen" in refused("ssh-dss AAAA")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one line"),
        (f"{LINE}\n{LINE}", "one line"),
        ("x" * 10_000, "one line"),
        (f'command="rm -rf /" {LINE}', "options"),
        (f"no-pty,{LINE}", "options"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificates"),
        ("ssh-ed25519", "it is no key"),
        ("ssh-ed25519 ***", "base64"),
        ("ssh-ed25519 AAAA", "no key"),
        (f"ssh-rsa {LINE.split()[1]}", "no key"),
        (f"ssh-ed25519 {base64.b64encode(GOOD.public_data + b'x').decode()}", "no key"),
        ("hello world", "begins with"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", "private"),
    ],
)
def test_what_is_no_key_is_refused_with_the_reason(text, said):
    assert said in refused(text)


async def test_the_servers_key_is_made_once():
    kept: dict[str, bytes] = {}

    class Keys:
        async def get_or_create(self, name, make):
            return kept.setdefault(name, make())

    first, again = await host_keys.load(Keys()), await host_keys.load(Keys())
    assert first == again
    own = asyncssh.import_private_key(first)
    assert host_keys.public_line(first) == own.export_public_key().decode().strip()
