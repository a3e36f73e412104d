"""The wrapper mends Serve's configuration, every time, and then becomes HAProxy."""

from __future__ import annotations

import subprocess

import pytest

from cluster.bringup.haproxy import write_wrapper

CONFIGURATION = """\
global
    stats socket /tmp/x/admin.sock mode 666 level admin expose-fd listeners
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 0.0.0.0:8080
    acl healthz path -i /-/healthz
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path '%[path]' not found."
backend http-coditect
    server one 127.0.0.1:25936 check
listen stats
  bind *:8404
  stats enable
"""


@pytest.mark.parametrize(("times", "tell_peer"), [(1, True), (2, True), (1, False)])
def test_listeners_are_closed_and_the_peer_is_told(tmp_path, times, tell_peer):
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(CONFIGURATION)
    wrapper = tmp_path / "haproxy"
    write_wrapper(wrapper, "/bin/echo", tell_peer=tell_peer)
    for _ in range(times):
        said = subprocess.check_output([wrapper, "-db", "-f", configuration], text=True)
    assert said == f"-db -f {configuration}\n"
    mended = configuration.read_text()
    assert "bind 127.0.0.1:9101\n" in mended
    assert "bind 127.0.0.1:8404\n" in mended
    assert "mode 600 level admin" in mended
    assert "return status 503 hdr retry-after 1 content-type text/plain lf-string" in mended
    assert "bind 0.0.0.0:8080\n" in mended
    assert mended.count("http-request set-header x-forwarded-for %[src]\n") == tell_peer
    assert "server one 127.0.0.1:25936 check\n" in mended
