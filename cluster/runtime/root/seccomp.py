"""The system calls that a container may not make, as a classic BPF program (seccomp(2)).

A deny list, like those of the container engines: what reaches outside of the namespaces, widens
the kernel's attack surface without need, or makes new namespaces. The program is built here, byte
by byte, because libseccomp would be one more library that a machine may not have.

Denied calls fail with EPERM. ``clone3`` fails with ENOSYS: its flags lie behind a pointer, where
a filter cannot look, and the C library then falls back to ``clone``, whose flags are checked.
``io_setup`` fails with ENOSYS as well: what it makes is counted for the machine as a whole
(``fs.aio-max-nr``), and programs then do without.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }
_NR, _ARCH, _ARGS = 0, 4, 16

# BPF opcodes (linux/bpf_common.h) and verdicts (linux/seccomp.h)
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

# The CLONE_NEW* flags of sched.h: cgroup, uts, ipc, user, pid, net, mount
_CLONE_NEW = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x20000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Not AF_VSOCK: it has no namespace and reaches the host.
_FAMILIES = (1, 2, 10, 16)
# Linux, its 32-bit layout, both without address randomisation (debuggers), and the query.
_PERSONALITIES = (0x0, 0x8, 0x0040000, 0x0040008, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A machine's numbers; ``calls`` are the numbers of the calls named below."""

    audit: int
    calls: Mapping[str, int]
    x32_bit: int | None = None


_COMMON = {  # numbers that x86-64 and AArch64 share (everything since Linux 5.1)
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "open_tree_attr": 467,
}

X86_64 = Architecture(
    audit=0xC000003E,
    x32_bit=0x40000000,
    calls=_COMMON
    | {
        "ioctl": 16,
        "socket": 41,
        "clone": 56,
        "syslog": 103,
        "uselib": 134,
        "io_setup": 206,
        "personality": 135,
        "modify_ldt": 154,
        "pivot_root": 155,
        "adjtimex": 159,
        "chroot": 161,
        "acct": 163,
        "settimeofday": 164,
        "mount": 165,
        "umount2": 166,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "iopl": 172,
        "ioperm": 173,
        "init_module": 175,
        "delete_module": 176,
        "quotactl": 179,
        "lookup_dcookie": 212,
        "clock_settime": 227,
        "kexec_load": 246,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "migrate_pages": 256,
        "unshare": 272,
        "move_pages": 279,
        "perf_event_open": 298,
        "fanotify_init": 300,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "clock_adjtime": 305,
        "setns": 308,
        "finit_module": 313,
        "kexec_file_load": 320,
        "bpf": 321,
        "userfaultfd": 323,
    },
)

AARCH64 = Architecture(
    audit=0xC00000B7,
    calls=_COMMON
    | {
        "io_setup": 0,
        "lookup_dcookie": 18,
        "ioctl": 29,
        "umount2": 39,
        "mount": 40,
        "pivot_root": 41,
        "chroot": 51,
        "quotactl": 60,
        "acct": 89,
        "personality": 92,
        "unshare": 97,
        "kexec_load": 104,
        "init_module": 105,
        "delete_module": 106,
        "clock_settime": 112,
        "syslog": 116,
        "reboot": 142,
        "settimeofday": 170,
        "adjtimex": 171,
        "socket": 198,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "clone": 220,
        "swapon": 224,
        "swapoff": 225,
        "migrate_pages": 238,
        "move_pages": 239,
        "perf_event_open": 241,
        "fanotify_init": 262,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "clock_adjtime": 266,
        "setns": 268,
        "finit_module": 273,
        "bpf": 280,
        "userfaultfd": 282,
        "kexec_file_load": 294,
    },
)

ARCHITECTURES: Mapping[str, Architecture] = {"x86_64": X86_64, "aarch64": AARCH64}

# Calls with a rule of their own; every other call of a table is denied with EPERM.
_BY_ARGUMENT = frozenset({"clone", "clone3", "io_setup", "ioctl", "socket", "personality"})


def program(machine: str) -> bytes | None:
    """Return the filter for a machine (``os.uname().machine``), or None where none is known."""
    architecture = ARCHITECTURES.get(machine)
    return None if architecture is None else b"".join(_assemble(architecture))


def _assemble(arch: Architecture) -> Iterable[bytes]:
    yield _instruction(_LOAD, _ARCH)
    # Another instruction set on the same machine has other numbers: it gets no call at all.
    yield _instruction(_JUMP_EQUAL, arch.audit, if_true=1)
    yield _deny(errno.ENOSYS)
    yield _instruction(_LOAD, _NR)
    if arch.x32_bit is not None:
        yield _instruction(_JUMP_GREATER_EQUAL, arch.x32_bit, if_false=1)
        yield _deny(errno.ENOSYS)
    for name in ("clone3", "io_setup"):
        yield from _when(arch.calls[name], [_deny(errno.ENOSYS)])
    for name, number in arch.calls.items():
        if name not in _BY_ARGUMENT:
            yield from _when(number, [_deny(errno.EPERM)])
    yield from _when(arch.calls["clone"], _unless_any_bit(0, _CLONE_NEW))
    yield from _when(arch.calls["ioctl"], _unless_one_of(1, (_TIOCSTI, _TIOCLINUX)))
    yield from _when(arch.calls["socket"], _only(0, _FAMILIES, errno.EAFNOSUPPORT))
    yield from _when(arch.calls["personality"], _only(0, _PERSONALITIES, errno.EPERM))
    yield _instruction(_RETURN, ALLOW)


def _when(number: int, body: list[bytes]) -> Iterable[bytes]:
    """For one call, run ``body``, which returns a verdict; for any other, go on behind it."""
    yield _instruction(_JUMP_EQUAL, number, if_false=len(body))
    yield from body


def _unless_any_bit(argument: int, bits: int) -> list[bytes]:
    return [
        _load_argument(argument),
        _instruction(_JUMP_SET, bits, if_false=1),
        _deny(errno.EPERM),
        _instruction(_RETURN, ALLOW),
    ]


def _unless_one_of(argument: int, values: tuple[int, ...]) -> list[bytes]:
    checks = [
        _instruction(_JUMP_EQUAL, value, if_true=len(values) - index)
        for index, value in enumerate(values)
    ]
    allow, deny = _instruction(_RETURN, ALLOW), _deny(errno.EPERM)
    return [_load_argument(argument), *checks, allow, deny]


def _only(argument: int, values: tuple[int, ...], error: int) -> list[bytes]:
    checks = [
        _instruction(_JUMP_EQUAL, value, if_true=len(values) - index)
        for index, value in enumerate(values)
    ]
    return [_load_argument(argument), *checks, _deny(error), _instruction(_RETURN, ALLOW)]


def _load_argument(index: int) -> bytes:
    """Load the low half of an argument: the kernel, too, looks at no more of these (little endian)."""
    return _instruction(_LOAD, _ARGS + 8 * index)


def _deny(error: int) -> bytes:
    return _instruction(_RETURN, _ERRNO | error)


def _instruction(code: int, operand: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """Encode ``struct sock_filter``."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)
