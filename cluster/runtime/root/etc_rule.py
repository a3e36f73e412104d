"""Chooses what containers see of ``/etc``: what packages put there, and nothing of the machine's own.

A file is shown when everybody may read it and it is one of these: a *conffile* exactly as its package
brought it (dpkg has the sums, so nobody has written anything into it), a link into ``/usr``, or a file that
packages generate for programs (``GENERATED``). What administers the machine, or says what it serves, is not
for containers even then. Pure: what is asked of the machine comes in as arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate

GENERATED = (
    "alternatives",
    "bash_completion.d",
    "ca-certificates.conf",
    "fonts",
    "gtk-2.0",
    "gtk-3.0",
    "inputrc",
    "java*",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "magic",
    "mime.types",
    "os-release",
    "pki/tls/certs",
    "protocols",
    "python3*",
    "rpc",
    "services",
    "sgml",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "texmf",
    "timezone",
    "xml",
)
"""Made by packages' scripts from what is installed, or data that is the same on every machine."""

_ADMINISTRATION = (
    # Who is on the machine, and how they get in.
    *("passwd*", "group*", "shadow*", "gshadow*", "subuid*", "subgid*", "sudoers*", "login.defs"),
    *("adduser.conf", "deluser.conf", "pam.*", "security", "ssh", "polkit*", "ldap*", "krb5*"),
    *("sssd", "selinux", "apparmor*", "tcb", "securetty", "nologin", "skel"),
    # What the machine is called, where it is, and what it is connected to.
    *("host*", "machine-id", "machine-info", "mailname", "resolv*", "network*", "netplan"),
    *(
        "NetworkManager",
        "dhcp*",
        "ppp",
        "wpa_supplicant",
        "wireguard",
        "openvpn",
        "issue*",
        "motd*",
    ),
    *("fstab*", "mtab", "crypttab", "lvm", "mdadm", "exports*", "nsswitch.conf", "gai.conf"),
    *("environment*", "update-motd.d"),
    # What it runs, and when.
    *("init*", "rc?.d", "rc.local", "systemd", "cron*", "anacrontab", "at.*", "logrotate*"),
    *("rsyslog*", "logcheck", "default", "modules*", "modprobe.d", "sysctl*", "udev", "kernel"),
    *("kernel-img.conf", "grub*", "dbus-1", "apt", "dpkg", "debconf.conf", "PackageKit", "ufw"),
    *("iptables*", "nftables*", "ethertypes", "binfmt.d", "tmpfiles.d", "apache2", "nginx"),
    *("lighttpd", "haproxy", "postgresql*", "mysql", "redis", "docker", "containerd", "kubernetes"),
    *("cni", "cloud", "samba", "cups", "avahi", "letsencrypt", "ssl/private", "opt", "aliases"),
)
_SECRETS = (
    "*.key",
    "*private*",
    "*secret*",
    "*passw*",
    "*credential*",
    "*token*",
    "*.keytab",
    ".netrc",
)


def _any(patterns: Sequence[str]) -> re.Pattern[str]:
    """Compile patterns of fnmatch(3) into one: every launch asks for hundreds of names."""
    return re.compile("|".join(map(translate, patterns)))


_is_administration, _is_secret = _any(_ADMINISTRATION).match, _any(_SECRETS).match
_is_generated = _any(GENERATED).match


def is_denied(path: str) -> bool:
    """Return whether a path below ``/etc`` is the machine's own affair, whatever is in it."""
    ancestors, name = _ancestors(path), path.rsplit("/", 1)[-1]
    return any(map(_is_administration, ancestors[:2])) or bool(_is_secret(name.lower()))


def _ancestors(path: str) -> list[str]:
    """Return what a path lies in, the outermost first, and itself."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def is_generated(path: str) -> bool:
    """Return whether a path below ``/etc`` is, or lies in, what packages generate for programs."""
    return any(map(_is_generated, _ancestors(path)))


def conffiles(status: str) -> Iterator[tuple[str, str]]:
    """Yield path below ``/etc`` and MD5 sum of every conffile in dpkg's status file (dpkg-query(1))."""
    inside = False
    for line in status.splitlines():
        if line.startswith("Conffiles:"):
            inside = True
        elif not line.startswith(" "):
            inside = False
        elif inside:
            path, _, rest = line.strip().partition(" ")
            if path.startswith("/etc/") and "obsolete" not in rest:
                yield path.removeprefix("/etc/"), rest.split(" ")[0]
