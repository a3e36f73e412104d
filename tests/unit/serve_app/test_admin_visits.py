"""Administrators in other people's sessions are noted once a while."""

from __future__ import annotations

import asyncio
import pickle
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from actors.core import errors
from actors.core.errors import CoditectError, Unauthenticated, Unavailable
from actors.core.records import Role, UserRecord
from actors.core.statistics import Histogram
from cluster.clock import SystemClock
from cluster.settings import Settings
from cluster.store.layers.accounts.tokens import EndedLogin
from serve_app.auth.admin_visits import AGAIN_SECONDS, AdminVisits
from serve_app.auth.first_admin import ensure_admin
from serve_app.auth.refresh_tokens import seal
from serve_app.auth.revocations import Revocations
from serve_app.auth.tokens import Login, Signer
from serve_app.http import problems
from serve_app.routes.common import only_local
from serve_app.telemetry.exposition import expose
from serve_app.telemetry.metrics import RATE_SECONDS, IngressMetrics
from tests.fakes.pool_fakes import ManualClock

def test_an_entry_is_new_again_after_a_while_or_by_another_login():
    now = 0.0
    entries = AdminVisits(lambda: now)
    assert entries.is_new("login", "s1")
    assert not entries.is_new("login", "s1")
    assert entries.is_new("login", "s2")
    assert entries.is_new("another", "s1")
    now = AGAIN_SECONDS - 1
    assert not entries.is_new("login", "s1"), "who stays has not come back"
    now = 2 * AGAIN_SECONDS
    assert entries.is_new("login", "s1")
