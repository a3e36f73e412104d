"""What programs of a container need in order to find the proxy by themselves: variables, files of /etc. Pure.

Most read ``HTTP_PROXY`` and its like. What does not has a file: ssh and git's own protocol get a small
program between, Maven and Gradle are told where the proxy is. Mirrors are written where the least weight is,
so that whatever a person configures wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.egress.doorway import PROXY_PORT
from cluster.egress.mirrors import Mirrors

_HOST = "127.0.0.1"
_PROXY = f"http://{_HOST}:{PROXY_PORT}"
_NOT = "localhost,127.0.0.1,::1,.localhost,workspace"
_NOT_JAVA = "localhost|127.*|[::1]|*.localhost|workspace"
_CONNECT = "coditect/connect"

# Host and port in, a connection to them out: by CONNECT, and by bash, which every container has.
_CONNECT_PROGRAM = f"""\
#!/bin/bash
exec 4<&0 || exit 1
exec 3<>/dev/tcp/{_HOST}/{PROXY_PORT} || exit 1
case $1 in *:*) host="[$1]" ;; *) host=$1 ;; esac
printf 'CONNECT %s:%s HTTP/1.1\\r\\nHost: %s:%s\\r\\n\\r\\n' "$host" "$2" "$host" "$2" >&3
IFS= read -r -t 30 line <&3 || exit 1
case $line in
  'HTTP/1.1 200'*) ;;
  *) printf '%s\\n' "${{line#HTTP/1.? }}" >&2; exit 1 ;;
esac
while IFS= read -r -t 30 line <&3 && [ "${{line%$'\\r'}}" ]; do :; done
cat <&4 >&3 &
cat <&3
kill "$!" 2>/dev/null
"""

_SSH = f"""\
Host localhost 127.* ::1
    ProxyCommand none
Host *
    ProxyCommand /etc/{_CONNECT} %h %p
    SendEnv LANG LC_*
"""

_GIT = f"""\
[core]
	gitproxy = none for localhost
	gitproxy = /etc/{_CONNECT}
"""

_MAVEN = (
    '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><proxies>'
    + "".join(
        f"<proxy><id>{kind}</id><active>true</active><protocol>{kind}</protocol><host>{_HOST}</host>"
        f"<port>{PROXY_PORT}</port><nonProxyHosts>{_NOT_JAVA}</nonProxyHosts></proxy>"
        for kind in ("http", "https")
    )
    + "</proxies></settings>\n"
)


@dataclass(frozen=True, slots=True)
class WayOut:
    """The way out of containers. ``extra`` are further variables; ``codename`` is the release's, for apt.

    ``authority`` is the certificate of who vouches for the hosts whose connections the gateway opens.
    """

    mirrors: Mirrors = field(default_factory=Mirrors)
    extra: Mapping[str, str] = field(default_factory=dict)
    codename: str = "stable"
    authority: str = ""

    def variables(self) -> dict[str, str]:
        """Return the environment of every program."""
        names = {"HTTP_PROXY": _PROXY, "HTTPS_PROXY": _PROXY, "ALL_PROXY": _PROXY, "NO_PROXY": _NOT}
        found = names | {name.lower(): value for name, value in names.items()}
        java = " ".join(
            f"-D{kind}.proxyHost={_HOST} -D{kind}.proxyPort={PROXY_PORT}"
            for kind in ("http", "https")
        )
        found |= {
            "GRADLE_OPTS": f"{java} -Dhttp.nonProxyHosts={_NOT_JAVA}",
            "MAVEN_ARGS": "-gs /etc/maven/settings.xml",
            "NODE_USE_ENV_PROXY": "1",
            "YARN_HTTP_PROXY": _PROXY,
            "YARN_HTTPS_PROXY": _PROXY,
        }
        if self.mirrors.npm:
            found["NPM_CONFIG_GLOBALCONFIG"] = "/etc/npmrc"
            found["YARN_NPM_REGISTRY_SERVER"] = self.mirrors.npm
            if self.mirrors.npm.startswith("http:"):
                found["YARN_UNSAFE_HTTP_WHITELIST"] = "*"
        return found | dict(self.extra)

    def files(self) -> dict[str, str]:
        """Return files by their path below ``/etc``; what begins with ``#!`` is a program."""
        proxied = "".join(f'Acquire::{kind}::Proxy "{_PROXY}/";\n' for kind in ("http", "https"))
        found = {
            _CONNECT: _CONNECT_PROGRAM,
            "apt/apt.conf.d/10proxy": proxied,
            "gitconfig": _GIT,
            "maven/settings.xml": _MAVEN,
            "ssh/ssh_config": _SSH,
        }
        mirrors = self.mirrors
        if mirrors.pip:
            trusted = [str(host) for host in mirrors.hosts if mirrors.pip.startswith("http:")][:1]
            found["pip.conf"] = f"[global]\nindex-url = {mirrors.pip}\n" + "".join(
                f"trusted-host = {host}\n" for host in trusted
            )
            found["uv/uv.toml"] = f'[[index]]\nurl = "{mirrors.pip}"\ndefault = true\n'
        if mirrors.npm:
            found["npmrc"] = f"registry={mirrors.npm}\n"
        if mirrors.apt:
            found["apt/sources.list"] = f"deb {mirrors.apt} {self.codename} main\n"
        return found
