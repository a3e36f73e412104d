"""Containers see packages' files of the machine's /etc as they came, and nothing of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cluster.runtime.root import etc
from cluster.runtime.root.etc_rule import conffiles, is_denied, is_generated


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def machine(tmp_path):
    """A machine with packages' files, some of them changed, and files of its own."""
    root = tmp_path / "etc"
    files = {
        "java-17-openjdk/security/java.security": "securerandom.source\n",
        "manpath.config": "MANDATORY_MANPATH /usr/man\n",
        "tool/as-shipped.conf": "shipped\n",
        "tool/changed.conf": "password = hunter2\n",
        "tool/private.conf": "shipped\n",
        "gitconfig": "[http] extraHeader = secret\n",
        "pip.conf": "index-url = https://user:secret@host/\n",
        "passwd": "alice:x:1:1::/home/alice:/bin/sh\n",
        "shadow": "alice:$y$\n",
        "hostname": "the-host\n",
        "machine-id": "0123\n",
        "ssh/ssh_config": "Host *\n",
        "cron.d/backup": "* * * * * root backup\n",
        "ssl/private/key.pem": "secret\n",
        "ssl/certs/ca.pem": "public\n",
        "ssl/certs/server.key": "secret\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "tool/guarded.conf").write_text("shipped\n")
    (root / "tool/guarded.conf").chmod(0o640)
    (root / "tool/to-usr").symlink_to("/usr/bin/env")
    (root / "tool/to-root").symlink_to("/root/.ssh")
    (root / "alternatives").mkdir()
    (root / "alternatives/editor").symlink_to("/bin/nano")
    shipped = ["manpath.config", "ssh/ssh_config", "cron.d/backup", "tool/guarded.conf"]
    lines = [f" /etc/{name} {md5((root / name).read_text())}" for name in shipped]
    lines += [
        f" /etc/tool/{name} {md5('shipped' + chr(10))}"
        for name in ("as-shipped.conf", "changed.conf")
    ]
    lines += [f" /etc/tool/private.conf {md5('shipped' + chr(10))}"]
    lines += [f" /etc/gitconfig {md5((root / 'gitconfig').read_text())} obsolete"]
    status = tmp_path / "status"
    text = "Package: tool\nStatus: install ok installed\nConffiles:\n"
    status.write_text(text + "\n".join(lines) + "\nDescription: x\n /etc/pip.conf is not one\n")
    return root, status


def shown(made: Path) -> set[str]:
    return {str(path.relative_to(made)) for path in made.rglob("*") if not path.is_dir()}


def test_packages_files_are_there_as_they_came_and_links_into_usr(machine, tmp_path):
    made = etc.prepare(tmp_path / "runtime", *machine)
    found = shown(made)
    assert {"manpath.config", "tool/as-shipped.conf", "tool/to-usr", "alternatives/editor"} <= found
    assert {"java-17-openjdk/security/java.security", "ssl/certs/ca.pem"} <= found
    assert (made / "tool/as-shipped.conf").read_text() == "shipped\n"


def test_nothing_of_the_machines_own_is_there(machine, tmp_path):
    made = etc.prepare(tmp_path / "runtime", *machine)
    found = shown(made)
    assert not found & {
        *("tool/changed.conf", "tool/guarded.conf", "tool/private.conf", "tool/to-root"),
        *("gitconfig", "pip.conf", "shadow", "machine-id", "ssh/ssh_config", "cron.d/backup"),
        *("ssl/private/key.pem", "ssl/certs/server.key"),
    }
    text = "".join((made / name).read_text() for name in found if not (made / name).is_symlink())
    assert "secret" not in text
    assert "alice" not in text
    assert "the-host" not in text


def test_without_a_package_database_only_what_is_known_is_there(machine, tmp_path):
    root, _ = machine
    found = shown(etc.prepare(tmp_path / "runtime", root, tmp_path / "none"))
    assert {"java-17-openjdk/security/java.security", "alternatives/editor"} <= found
    assert not any(name in found for name in ("manpath.config", "tool/as-shipped.conf", "pip.conf"))


def test_programs_trust_the_nodes_authority_beside_the_machines(machine, tmp_path):
    bundle = machine[0] / "ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("the machine's\n")
    without = etc.prepare(tmp_path / "runtime", *machine)
    made = etc.prepare(tmp_path / "runtime", *machine, authority="the node's\n")
    assert made != without
    assert (made / "ssl/certs/ca-certificates.crt").read_text() == "the machine's\nthe node's\n"
    assert (without / "ssl/certs/ca-certificates.crt").read_text() == "the machine's\n"
    assert bundle.read_text() == "the machine's\n"


def test_another_set_of_packages_makes_another_directory(machine, tmp_path):
    root, status = machine
    first = etc.prepare(tmp_path / "runtime", root, status)
    assert etc.prepare(tmp_path / "runtime", root, status) == first
    status.write_text(status.read_text() + "\n")
    assert etc.prepare(tmp_path / "runtime", root, status) != first


@pytest.mark.parametrize(
    "path",
    [
        *("passwd", "passwd-", "shadow", "group", "gshadow-", "subuid", "sudoers.d/x", "pam.d/su"),
        *("hostname", "hosts", "hosts.allow", "resolv.conf", "machine-id", "fstab", "mtab"),
        *("ssh/ssh_host_rsa_key", "cron.d/x", "crontab", "systemd/x", "rc3.d/x", "apt/auth.conf"),
        *("ssl/private", "ssl/private/x", "foo/site.key", "foo/db-password.conf", "x/api_token"),
    ],
)
def test_what_is_denied(path):
    assert is_denied(path)


@pytest.mark.parametrize(
    "path", ["java-17-openjdk/x", "fonts/fonts.conf", "ssl/certs/x.pem", "profile"]
)
def test_what_is_not(path):
    assert not is_denied(path)


def test_what_is_generated_is_known_by_its_place():
    assert is_generated("ssl/certs/java/cacerts")
    assert is_generated("java-21-openjdk/x")
    assert not is_generated("ssl/other")


def test_conffiles_are_read_from_the_status_file():
    status = (
        "Package: a\nConffiles:\n /etc/a 11\n /etc/b 22 obsolete\n /opt/c 33\nBugs: x\n /etc/d 44\n"
    )
    assert list(conffiles(status)) == [("a", "11")]
