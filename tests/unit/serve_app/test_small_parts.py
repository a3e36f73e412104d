"""The parts that decide by themselves: tokens, problem documents, metrics, bootstrapping."""

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

# ---- tokens -----------------------------------------------------------------------------------------


def signer(key: bytes = b"k" * 32, tenant: str = "t") -> Signer:
    numbers = count()
    return Signer(key, tenant, lambda prefix: f"{prefix}-{next(numbers)}")


def test_a_token_says_who_until_it_expires():
    token = signer().access_token(Login("u-1", "f-1", 3), Role.ADMIN, now=100.0, ttl=10.0)
    claims = signer().read_access_token(token, 109.0)
    assert (claims.login, claims.role) == (Login("u-1", "f-1", 3), Role.ADMIN)
    with pytest.raises(Unauthenticated):
        signer().read_access_token(token, 110.0)


def test_tokens_of_other_keys_tenants_and_kinds_are_refused():
    token = signer().access_token(Login("u-1", "f-1", 3), Role.USER, now=0.0, ttl=10.0)
    ticket = signer().ticket(Login("u-1", "f-1", 3), Role.USER, now=0.0)
    for read in (
        lambda: signer(b"x" * 32).read_access_token(token, 1.0),
        lambda: signer(tenant="other").read_access_token(token, 1.0),
        lambda: signer().read_access_token(ticket, 1.0),
        lambda: signer().read_ticket(token, 1.0),
        lambda: signer().read_access_token(token[:-2], 1.0),
        # "none" is no algorithm here: {"alg":"none","typ":"JWT"}
        lambda: signer().read_access_token(
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + token.split(".")[1] + ".", 1.0
        ),
    ):
        with pytest.raises(Unauthenticated):
            read()


@given(st.text())
def test_no_text_is_a_token(text):
    with pytest.raises(Unauthenticated):
        signer().read_access_token(text, 0.0)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.text())
def test_sealing_twice_uncovers(secret, under, name):
    assert seal(seal(secret, under, name), under, name) == secret


# ---- problem documents ------------------------------------------------------------------------------


def every_error(kind: type[CoditectError] = CoditectError):
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == "actors.core.errors":
            yield from every_error(child)


def made(kind: type[CoditectError]) -> CoditectError:
    arguments = {
        "InvalidArgument": ("f", "r"),
        "PreconditionFailed": ("w", "e", "a"),
        "QuotaExceeded": ("files", 1, 1, 1),
        "ContainersExceeded": (1, 1, ("default",)),
    }
    for attempt in (
        arguments.get(kind.__name__, ()),
        (),
        ("a",),
        ("a", 1),
        ("a", 1, 2),
        ("a",) * 4,
    ):
        try:
            error = kind(*attempt)
            str(error)
        except (TypeError, ValueError):
            continue
        return error
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", sorted(set(every_error()), key=lambda kind: kind.__name__))
def test_every_error_has_a_document(kind):
    error = made(kind)
    body, headers = problems.from_error(pickle.loads(pickle.dumps(error)), "/x")
    assert body["status"] == problems.status_of(error)
    assert body["code"] == kind.code
    if error.retryable:
        assert int(headers["retry-after"]) >= 1
    problems.encode(body)


def test_bugs_are_not_explained_to_callers():
    error = errors.IllegalTransition("session", "ready", "secret inside", ())
    body, _ = problems.from_error(error, "/x")
    assert body["status"] == 500
    assert "secret" not in body["detail"]


@given(st.text())
def test_any_text_can_stand_in_a_document(text):
    body = problems.document(400, "c", text, text)
    problems.encode(body)
    assert body["detail"].isprintable()


# ---- metrics ----------------------------------------------------------------------------------------


def test_the_exposition_adds_replicas_up_and_parses():
    first, second = IngressMetrics(), IngressMetrics()
    for number in range(10):
        first.observe("GET", "/a", 500 if number == 0 else 200, 0.01, float(number))
        second.observe("GET", "/a", 200, 3.0, float(number))
    launch = Histogram()
    launch.observe(0.02)
    text = expose(
        {"r1": first.snapshot({}), "r2": second.snapshot({"odd": 1.5})},
        {
            "pool-1": {
                "kind": "pool",
                "stats": {
                    "container_launch_seconds": launch.snapshot(),
                    "pool_utilization": 0.25,
                    "text": "left out",
                },
            }
        },
        {"sessions": {"ready": 3}, "stuck": [], "checked_at": None, "age_seconds": 0.5},
        active_containers=3,
    )
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["error_rate", ()] == 0.05
    assert samples["active_containers", ()] == 3
    assert samples["pool_utilization", (("pool", "pool-1"),)] == 0.25
    assert samples["container_launch_time_count", (("pool", "pool-1"),)] == 1
    assert samples["coditect_sessions", (("phase", "ready"),)] == 3


def test_the_error_rate_forgets():
    metrics = IngressMetrics()
    metrics.observe("GET", "/a", 500, 0.1, 0.0)
    metrics.observe("GET", "/a", 200, 0.1, RATE_SECONDS + 11.0)
    assert metrics.snapshot({})["recent"] == [1.0, 0.0]


def test_routes_are_bounded():
    metrics = IngressMetrics()
    for number in range(1000):
        metrics.observe("GET", f"/{number}", 200, 0.1, 0.0)
    assert len(metrics.snapshot({})["api"]) <= 201


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


# ---- the first administrator ------------------------------------------------------------------------


class MemoryUsers:
    def __init__(self) -> None:
        self.records: dict[str, UserRecord] = {}

    async def create(self, record):
        self.records[record.user_id] = record
        return record

    async def by_email(self, email):
        return next((r for r in self.records.values() if r.email == email), None)

    async def page(self, *, after=None, limit=1000):
        return [r for _, r in sorted(self.records.items()) if after is None or r.user_id > after][
            :limit
        ]

    async def change(self, user_id, *, now, **changes):
        return self.put(user_id, **{k: v for k, v in changes.items() if v is not None})

    def put(self, user_id, **changes):
        self.records[user_id] = self.records[user_id].model_copy(update=changes)
        return self.records[user_id]


async def first(users, **settings):
    return await ensure_admin(users, Settings(**settings), lambda _: "made-up", SystemClock())


async def test_an_administrator_is_made_once_and_its_password_told_once():
    users = MemoryUsers()
    assert await first(users) == ("admin@localhost", "made-up")
    assert await first(users) == ("admin@localhost", None)
    assert len(users.records) == 1


async def test_the_settings_name_the_administrator_and_change_its_password():
    users = MemoryUsers()
    named = {"admin_email": "ada@example.com", "admin_password": "first-password"}
    assert await first(users, **named) == ("ada@example.com", None)
    [before] = users.records.values()
    await first(users, **named)
    assert list(users.records.values()) == [before]
    await first(users, **(named | {"admin_password": "second-password"}))
    [after] = users.records.values()
    assert after.password_hash != before.password_hash
    users.put(after.user_id, role=Role.USER)
    await first(users, admin_email="ada@example.com")
    assert next(iter(users.records.values())).role is Role.ADMIN


# ---- ends of logins, entries ------------------------------------------------------------------------


class Ends:
    """A store of ended logins."""

    def __init__(self) -> None:
        self.ends: list[EndedLogin] = []
        self.away = False

    def end(self, family: str, at: float) -> None:
        self.ends.append(EndedLogin(b"%04d" % len(self.ends), "u", at, family))

    async def ended_after(self, place):
        if self.away:
            raise Unavailable("store", "away")
        return [ended for ended in self.ends if place is None or ended.place > place][:2]


async def test_ends_of_logins_are_followed_page_by_page_and_forgotten_with_their_tokens():
    clock, ends = ManualClock(1000.0), Ends()
    known = Revocations(ends, clock, keep=900.0)
    for number in range(5):
        ends.end(f"f{number}", 1000.0 + number)
    await known.catch_up()
    assert all(known.is_over(Login("u", f"f{number}")) for number in range(5))
    clock.advance(962.0)
    await known.catch_up()
    assert [known.is_over(Login("u", f"f{number}")) for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


async def test_what_is_known_of_ended_logins_holds_while_the_store_is_away():
    clock, ends = ManualClock(), Ends()
    known = Revocations(ends, clock, keep=900.0)
    known.add("u", "mine", clock.now())
    ends.away = True
    with pytest.raises(Unavailable):
        await known.catch_up()
    assert known.is_over(Login("u", "mine"))


async def test_whoever_waits_for_the_end_of_a_login_hears_of_it_and_leaves_nothing_behind():
    known = Revocations(Ends(), ManualClock(), keep=900.0)
    waiting = [asyncio.create_task(known.require_live(Login("u", "mine"))) for _ in range(2)]
    other = asyncio.create_task(known.require_live(Login("u", "other")))
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    known.add("u", "mine", 0.0)
    with pytest.raises(Unauthenticated):
        await waiting[1]
    with pytest.raises(Unauthenticated):
        await known.require_live(Login("u", "mine"))
    other.cancel()
    await asyncio.gather(*waiting, other, return_exceptions=True)
    assert known._watches == {}


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
