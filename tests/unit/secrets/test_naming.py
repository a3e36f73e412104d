"""Which names, values, hosts, repositories and shells are taken."""

from __future__ import annotations

import pytest

from actors.core.errors.requests import InvalidArgument
from cluster.secrets import naming


@pytest.mark.parametrize(
    "name", ["A", "_x", "API_TOKEN", "PYTHONPATH", "LANG", "EDITOR", "x" * 128]
)
def test_names_of_variables_are_taken(name):
    assert naming.check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "x" * 129, "A.B", "A\0"]
)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InvalidArgument, match="letters, digits"):
        naming.check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "SHELL", "TZ", "TERM", "PWD", "BASH_ENV", "ENV", "IFS", "_"),
        *("LD_PRELOAD", "LD_LIBRARY_PATH", "CODITECT_URL", "CODI_CONFIG", "BASH_FUNC_x"),
        *("HTTP_PROXY", "https_proxy", "no_proxy", "All_Proxy", "GIT_CONFIG_SYSTEM", "ld_audit"),
    ],
)
def test_what_the_workspace_itself_sets_is_refused(name):
    with pytest.raises(InvalidArgument, match="set by the workspace"):
        naming.check_name(name)


@pytest.mark.parametrize("value", ["", "x" * naming.MAX_VALUE, "a\nb", "ä=€"])
def test_values_are_text(value):
    assert naming.check_value(value) == value


@pytest.mark.parametrize(
    "value", ["a\0b", "\ud800", "x" * (naming.MAX_VALUE + 1), "é" * naming.MAX_VALUE]
)
def test_what_cannot_stand_in_an_environment_is_refused_without_repeating_it(value):
    with pytest.raises(ValueError, match="it ") as refused:
        naming.check_value(value)
    assert value not in str(refused.value)


@pytest.mark.parametrize("host", ["api.example.com", "localhost", "API.Example.com:8443"])
def test_hosts_are_names_in_lower_case(host):
    assert naming.check_host(host) == host.lower()


@pytest.mark.parametrize(
    "host",
    [
        "",
        "-a.com",
        "a..b",
        "a/b",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "*.example.com",
        "a" * 64,
        "ä.com",
    ],
)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ValueError, match=r"host|port"):
        naming.check_host(host)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://github.com/ada/dotfiles.git",
            "git@github.com:ada/dotfiles",
            "file:///workspace/d",
        ),
        *("ssh://git@host:2222/d.git", "git://host/d", "host:path"),
    ],
)
def test_repositories_are_what_git_clones(url):
    assert naming.check_repository(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "--upload-pack=evil", "ext::sh -c evil", "dotfiles", "/etc", "https://", "a b:c"),
        *(
            "https://user:secret@host/d",
            "https://token@host/d",
            "javascript://x/y",
            "http://[",
            "x\n:y",
        ),
        "https://h/" + "x" * 1024,
    ],
)
def test_what_git_should_not_be_given_is_refused(url):
    with pytest.raises(ValueError, match=r".+"):
        naming.check_repository(url)


@pytest.mark.parametrize("path", ["/bin/bash", "/usr/bin/zsh"])
def test_shells_are_paths(path):
    assert naming.check_shell(path) == path


@pytest.mark.parametrize(
    "path", ["bash", "", "/", "/bin/../x", "/bin//sh", "/bin/sh -c x", "/" + "x" * 200]
)
def test_what_is_no_path_of_a_shell_is_refused(path):
    with pytest.raises(ValueError, match="path of a shell"):
        naming.check_shell(path)
