"""One real server for all tests that need one, started by the first of them, and people to use it."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from cluster.store.transactions import transaction
from coditect import AsyncClient
from tests.fakes.engines import API_VARIABLE, CLUSTER_VARIABLE
from tests.support import registries
from tests.support.people import PASSWORD, Person
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

# No time limit for an example: a busy machine would decide what passes. CI draws the same examples
# each time, so that a change is what makes it fail.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Without this an error is drawn with every variable of every frame, which takes half a minute.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(),
    ]
)

ALONE = ("browser", "faults", "integration", "isolation")
"""Folders whose tests start servers and look at the whole machine: none of them runs beside another."""

BESIDE = {
    "browser": ("files", "pages", "preview", "search", "sizing", "splits"),
    "faults": ("fdb_restart", "linearizability", "store_faults"),
    "isolation": (
        "codi_killed",
        "full_disk_of_codi",
        "inside",
        "ordinary_user",
        "survival",
        "walls",
    ),
}
"""Files of these folders that need neither: they have a server in their own process, or containers alone."""

_numbers = itertools.count()


class ByFolder(LoadScopeScheduling):
    """Keeps the tests of ``ALONE`` together on one worker; of the others a file goes to whichever is free."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        _, folder, *_, file = Path(path).parts
        beside = Path(file).stem.removeprefix("test_") in BESIDE.get(folder, ())
        return "alone" if folder in ALONE and not beside else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    """Return what hands tests to workers."""
    return ByFolder(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show why tests failed that were run once more, and passed then (``.ci/run``)."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"failed at first: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext[-4000:])


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transactions in the tests' own process try again soon: faults are many there."""
    monkeypatch.setattr(transaction, "FIRST_BACKOFF_SECONDS", 0.0005)
    monkeypatch.setattr(transaction, "MAX_BACKOFF_SECONDS", 0.005)


def store_settings() -> dict[str, str]:
    """Return the settings that put the server's store into the real cluster, if one is named.

    Below a prefix of its own, which is left there: test clusters are thrown away.
    """
    named = os.environ.get(CLUSTER_VARIABLE)
    if not named:
        return {}
    return {
        "store": "foundationdb",
        "store_fdb_cluster_file": named,
        "store_fdb_prefix": f"test-{secrets.token_hex(8)}",
        "store_fdb_api_version": os.environ.get(API_VARIABLE, "710"),
    }


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(
        pool_size=3,
        passivate_after=5,
        dashboard=False,
        egress_hosts=",".join(["localhost", *registries.hosts()]),
        **store_settings(),
    ) as running:
        yield running


@pytest.fixture
async def admin(server: ServerProcess) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        yield client


@pytest.fixture
async def new_person(server: ServerProcess, admin: AsyncClient) -> AsyncIterator[Callable]:
    people: list[Person] = []

    async def make() -> Person:
        email = f"person{next(_numbers)}@example.com"
        await admin.create_user(email, PASSWORD)
        client = AsyncClient(server.url, timeout_seconds=60)
        person = Person(email, client, await client.login(email, PASSWORD))
        people.append(person)
        return person

    yield make
    for person in people:
        await person.client.end_session(person.session_id)
        await person.client.close()


@pytest.fixture
async def person(new_person: Callable) -> Person:
    return await new_person()
