"""Rules that routes share."""

from __future__ import annotations

import pytest

from cluster.settings import Settings
from serve_app.routes.common import only_local


@pytest.mark.parametrize(
    ("host", "public_url", "local"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", None, False),
        ("127.0.0.1", "https://example.com", False),
        ("example.com", None, False),
    ],
)
def test_who_may_read_metrics_without_signing_in(host, public_url, local):
    assert only_local(Settings(host=host, public_url=public_url)) is local
