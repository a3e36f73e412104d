"""The configuration that `coditect ssh-config` writes, as OpenSSH reads it."""

from __future__ import annotations

import subprocess

from coditect.cli import ssh_config


def read_by_ssh(tmp_path, text: str, host: str) -> dict[str, str]:
    file = tmp_path / "config"
    file.write_text(text)
    done = subprocess.run(
        ["ssh", "-F", str(file), "-G", host], capture_output=True, text=True, check=True
    )
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: value for name, _, value in lines}


def test_openssh_reads_what_is_written(tmp_path):
    text = ssh_config.block(
        "https://work.example:8443", ["/opt/a b/100%/coditect"], "/home/ada/known hosts"
    )
    found = read_by_ssh(tmp_path, text, "coditect.Work")
    assert found["proxycommand"] == (
        "'/opt/a b/100%%/coditect' ssh-proxy --server https://work.example:8443 '%n'"
    )
    assert found["hostkeyalias"] == "coditect-work.example-8443"
    assert found["userknownhostsfile"] == "/home/ada/known hosts"
    assert found["stricthostkeychecking"] in {"true", "yes"}
    assert (found["controlmaster"], found["forwardagent"]) == ("false", "no")
    assert "proxycommand" not in read_by_ssh(tmp_path, text, "elsewhere.example")


def test_each_servers_key_is_kept_under_its_name():
    one, other = "http://127.0.0.1:8080/", "https://work.example/"
    known = ssh_config.with_known_host("", one, "ssh-ed25519 AAAA")
    assert known == "coditect-127.0.0.1-8080 ssh-ed25519 AAAA\n"
    known = ssh_config.with_known_host(known, other, "ssh-ed25519 BBBB")
    known = ssh_config.with_known_host(known, one, "ssh-ed25519 CCCC")
    assert sorted(known.splitlines()) == [
        "coditect-127.0.0.1-8080 ssh-ed25519 CCCC",
        "coditect-work.example ssh-ed25519 BBBB",
    ]


def test_the_own_configuration_is_included_once_and_first():
    before = "Host *\n  User ada\n"
    after = ssh_config.with_include(before)
    assert after == f"{ssh_config.INCLUDE}\n\n{before}"
    assert ssh_config.with_include(after) == after
    assert ssh_config.with_include("") == f"{ssh_config.INCLUDE}\n"


def test_a_host_is_a_session():
    assert ssh_config.session_name("coditect.work") == "work"
    assert ssh_config.session_name("s-3fq2h5vtklhb2k7n4zqa") == "s-3fq2h5vtklhb2k7n4zqa"
