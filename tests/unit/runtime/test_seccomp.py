"""The filter's program, run by a small interpreter of classic BPF."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from cluster.runtime.root import seccomp
from cluster.runtime.root.seccomp import AARCH64, ALLOW, ARCHITECTURES, X86_64


def verdict(architecture, number, arguments=(), *, audit=None):
    """Run the program on one system call; return 0 when it is allowed, else the error's number."""
    machine = next(name for name, known in ARCHITECTURES.items() if known is architecture)
    code = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    padded = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack("=IIQ6Q", number, audit or architecture.audit, 0, *padded)
    accumulator = at = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x45:
                at += if_true if accumulator & operand else if_false
            case 0x06:
                return 0 if operand == ALLOW else operand & 0xFFFF


BOTH = pytest.mark.parametrize("arch", [X86_64, AARCH64], ids=["x86_64", "aarch64"])


@BOTH
def test_calls_of_the_list_are_denied_and_their_neighbours_allowed(arch):
    by_argument = {"clone", "ioctl", "socket", "personality"}
    numbers = set(arch.calls.values())
    for name, number in arch.calls.items():
        if name in {"clone3", "io_setup"}:
            assert verdict(arch, number) == errno.ENOSYS
        elif name not in by_argument:
            assert verdict(arch, number) == errno.EPERM, name
        for neighbour in {max(0, number - 1), number + 1} - numbers:
            assert verdict(arch, neighbour) == 0, neighbour


@BOTH
def test_clone_makes_processes_and_threads_but_no_namespaces(arch):
    clone = arch.calls["clone"]
    thread, fork = 0x3D0F00, 0x01200011
    assert verdict(arch, clone, [thread]) == 0
    assert verdict(arch, clone, [fork]) == 0
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(arch, clone, [fork | flag]) == errno.EPERM


@BOTH
def test_only_families_of_sockets_that_namespaces_hold_are_allowed(arch):
    answers = {family: verdict(arch, arch.calls["socket"], [family]) for family in range(46)}
    allowed = {family for family, answer in answers.items() if answer == 0}
    assert allowed == {1, 2, 10, 16}
    assert set(answers.values()) == {0, errno.EAFNOSUPPORT}


@BOTH
def test_terminals_can_be_asked_anything_but_to_type(arch):
    ioctl = arch.calls["ioctl"]
    assert verdict(arch, ioctl, [0, 0x5413]) == 0
    assert verdict(arch, ioctl, [0, 0x5412]) == errno.EPERM
    assert verdict(arch, ioctl, [0, 0x541C]) == errno.EPERM


@BOTH
def test_upper_halves_of_arguments_do_not_hide_the_lower(arch):
    assert verdict(arch, arch.calls["ioctl"], [0, (1 << 32) | 0x5412]) == errno.EPERM
    assert verdict(arch, arch.calls["socket"], [(1 << 32) | 40]) == errno.EAFNOSUPPORT


@BOTH
def test_debuggers_may_switch_off_randomisation_and_nothing_else_of_personality(arch):
    personality = arch.calls["personality"]
    assert verdict(arch, personality, [0x0040000]) == 0
    assert verdict(arch, personality, [0xFFFFFFFF]) == 0
    assert verdict(arch, personality, [0x0400000]) == errno.EPERM  # READ_IMPLIES_EXEC


@BOTH
def test_calls_of_another_instruction_set_are_refused(arch):
    assert verdict(arch, 1, audit=0x40000003) == errno.ENOSYS


def test_calls_of_the_x32_layout_are_refused():
    assert verdict(X86_64, 0x40000000) == errno.ENOSYS


def test_an_unknown_machine_has_no_filter():
    assert seccomp.program("s390x") is None


@pytest.mark.parametrize(
    ("arch", "header"),
    [
        (X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        (AARCH64, "/usr/include/asm-generic/unistd.h"),
    ],
    ids=["x86_64", "aarch64"],
)
def test_numbers_are_those_of_the_kernels_headers(arch, header):
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    text = Path(header).read_text()
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
    for name, number in arch.calls.items():
        if name in known:
            assert int(known[name]) == number, name
    assert len(set(arch.calls) & set(known)) > 30
