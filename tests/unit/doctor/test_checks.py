from __future__ import annotations

import socket
import subprocess

import pytest

from cluster.doctor import checks
from cluster.doctor import probe as doctor
from cluster.doctor.checks import Check, NamespaceFacts, PortFacts, Verdict
from cluster.settings import RuntimeName, Settings

GIB = 1 << 30


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (checks.python_version((3, 10)), Verdict.ERROR),
        (checks.python_version((3, 11)), Verdict.OK),
        (checks.kernel("Linux", "6.18.44-amd64"), Verdict.OK),
        (checks.kernel("Linux", "5.3.0"), Verdict.ERROR),
        (checks.kernel("Darwin", "23.0"), Verdict.ERROR),
        (checks.bubblewrap("0.12", "/usr/bin/bwrap", safe=True), Verdict.OK),
        (checks.bubblewrap(None, None, safe=False), Verdict.ERROR),
        (checks.sandbox(None), Verdict.OK),
        (checks.sandbox("bwrap: no permission"), Verdict.ERROR),
        (checks.tools([]), Verdict.OK),
        (checks.tools(["setpriv"]), Verdict.ERROR),
        (checks.port(PortFacts("::1", 80, None)), Verdict.OK),
        (checks.port(PortFacts("::1", 80, "Permission denied")), Verdict.ERROR),
        (checks.data_directory("/d", None), Verdict.OK),
        (checks.data_directory("/d", "Read-only file system"), Verdict.ERROR),
        (checks.foundationdb("/etc/fdb.cluster", None), Verdict.OK),
        (checks.foundationdb("/etc/fdb.cluster", "no libfdb_c"), Verdict.ERROR),
        (checks.backup_tools([]), Verdict.OK),
        (checks.backup_tools(["fdbbackup"]), Verdict.WARNING),
        (checks.secret_key(None, mode=None, has_store=True), Verdict.OK),
        (checks.secret_key(None, mode=0o600, has_store=True), Verdict.OK),
        (checks.secret_key(None, mode=0o640, has_store=True), Verdict.WARNING),
        (checks.secret_key("no file", mode=None, has_store=False), Verdict.OK),
        (checks.secret_key("no file", mode=None, has_store=True), Verdict.WARNING),
        (checks.secret_key("no base64", mode=0o600, has_store=False), Verdict.WARNING),
        (checks.disk(GIB - 1), Verdict.ERROR),
        (checks.disk(2 * GIB), Verdict.WARNING),
        (checks.disk(50 * GIB), Verdict.OK),
        (checks.memory(GIB), Verdict.ERROR),
        (checks.memory(2 * GIB), Verdict.WARNING),
        (checks.memory(8 * GIB), Verdict.OK),
        (checks.shared_memory(64 << 20, 128 << 20), Verdict.WARNING),
        (checks.shared_memory(GIB, 128 << 20), Verdict.OK),
        (checks.open_files(256), Verdict.ERROR),
        (checks.open_files(4096), Verdict.WARNING),
        (checks.open_files(65536), Verdict.OK),
        (checks.user(is_root=True), Verdict.OK),
    ],
)
def test_verdicts_and_that_each_lack_comes_with_advice(check, verdict):
    assert check.verdict is verdict
    assert check.found
    assert (check.advice == "") == (verdict is Verdict.OK)


@pytest.mark.parametrize(
    ("root", "maximum", "clone", "apparmor", "verdict", "word"),
    [
        (False, 100, 1, 0, "ok", ""),
        (False, 100, None, None, "ok", ""),
        (True, 100, 0, 1, "ok", ""),
        (True, 0, 1, 0, "error", "max_user_namespaces"),
        (False, 9, 0, 0, "error", "unprivileged_userns_clone"),
        (False, 9, 1, 1, "error", "apparmor_parser -r"),
    ],
)
def test_each_switch_that_forbids_user_namespaces_is_named(
    root, maximum, clone, apparmor, verdict, word
):
    facts = NamespaceFacts(
        is_root=root, maximum=maximum, unprivileged_clone=clone, apparmor_restricts=apparmor
    )
    check = checks.user_namespaces(facts)
    assert check.verdict == verdict
    assert word in check.advice


def test_what_apparmor_forbids_has_a_remedy_that_is_a_command():
    facts = NamespaceFacts(False, 9, 1, 1, bwrap="/opt/a b/bwrap")
    check = checks.user_namespaces(facts)
    assert 'profile coditect-bwrap "/opt/a b/bwrap" flags=(unconfined) { userns, }' in check.advice
    command = check.advice.partition(" | ")[0]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "abi <abi/4.0>,",
        "include <tunables/global>",
        'profile coditect-bwrap "/opt/a b/bwrap" flags=(unconfined) { userns, }',
    ]
    allowed = checks.user_namespaces(NamespaceFacts(False, 9, 1, 1, works=True))
    assert (allowed.verdict, allowed.advice) == (Verdict.OK, "")


def test_a_port_that_somebody_has_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        facts = doctor.port_facts("127.0.0.1", taken.getsockname()[1])
    assert facts.refusal == "Address already in use"
    assert doctor.port_facts("127.0.0.1", 0).refusal is None
    assert doctor.port_facts("no.such.host.invalid", 80).refusal


def test_only_errors_are_fatal():
    found = [
        Check("a", Verdict.OK, "x"),
        Check("b", Verdict.WARNING, "x"),
        Check("c", Verdict.ERROR, "x"),
    ]
    assert [check.name for check in doctor.fatal(found)] == ["c"]


def test_a_data_directory_that_cannot_be_written_is_reported_and_none_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    settings = Settings(runtime=RuntimeName.STUB, port=0, data_dir=tmp_path / "file" / "data")
    found = {check.name: check for check in doctor.run_checks(settings)}
    assert found["data directory"].verdict is Verdict.ERROR
    new = Settings(runtime=RuntimeName.STUB, port=0, data_dir=tmp_path / "new" / "data")
    found = {check.name: check for check in doctor.run_checks(new)}
    assert found["data directory"].verdict is Verdict.OK
    assert not (tmp_path / "new").exists()


def test_containers_are_looked_at_only_when_they_run_here(tmp_path):
    settings = Settings(runtime=RuntimeName.CLOUD_RUN, port=0, data_dir=tmp_path)
    assert "sandbox" not in {check.name for check in doctor.run_checks(settings)}


@pytest.mark.sandbox
def test_a_whole_look_at_this_machine_names_every_part_once(tmp_path):
    found = doctor.run_checks(Settings(port=0, data_dir=tmp_path))
    names = [check.name for check in found]
    assert len(names) == len(set(names))
    assert {"bubblewrap", "sandbox", "seccomp", "memory limit", "user namespaces"} <= set(names)
    assert list(tmp_path.iterdir()) == []


def test_few_descriptors_are_reported():
    assert checks.descriptors(10**12, 65536).verdict == "ok"
    check = checks.descriptors(2_000_000, 1500)
    assert (check.verdict, "fs.file-max=10000000" in check.advice) == ("warning", True)


def test_what_was_found_is_read_again_as_it_was():
    found = [Check("a", Verdict.OK, "well"), Check("b", Verdict.WARNING, "ill", "mend it")]
    assert checks.load(checks.dump(found)) == found
    for text in ("", "{}x", '[{"name": 1}]', '[{"verdict": "ok"}]', "[1]"):
        with pytest.raises(ValueError, match=r".+"):
            checks.load(text)
