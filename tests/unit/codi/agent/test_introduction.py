"""Git uses the account's address until somebody sets another."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from cluster.codi.agent import introduction

GIT = shutil.which("git")


@pytest.mark.parametrize("email", ["", "x", "@x", "x@", "a\n[core]@x", "a" * 300 + "@x.org"])
def test_what_is_no_address_is_refused(email):
    with pytest.raises(ValueError, match="address"):
        introduction.gitconfig(email)


@pytest.mark.skipif(GIT is None, reason="no git on this machine")
@pytest.mark.parametrize("email", ["ada@example.com", 'o"d\\d;#@example.com', "ünï@example.com"])
def test_git_reads_it_and_people_set_another(tmp_path, email):
    path = tmp_path / "deep" / "gitconfig"
    introduction.write(str(path), email)
    environment = {
        "GIT_CONFIG_SYSTEM": str(path),
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
    }

    def git(*arguments: str) -> str:
        return subprocess.check_output([GIT, *arguments], env=environment, text=True).strip()

    assert git("config", "user.email") == email
    assert git("config", "user.name") == email.rpartition("@")[0]
    git("config", "--global", "user.email", "mine@example.com")
    assert git("config", "user.email") == "mine@example.com"


def test_a_place_that_cannot_be_written_is_no_reason_to_fail(tmp_path):
    (tmp_path / "file").write_text("")
    introduction.write(str(tmp_path / "file" / "gitconfig"), "ada@example.com")
