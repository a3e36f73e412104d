"""A real browser, on the whole server or on one in this process.

What is about the page alone is tested with ``rig``: the same HTTP interface and a real CODI, but
without Ray, which takes longer to start than most tests.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from coditect import AsyncClient
from serve_app.http import pages
from tests.fakes.ingress_fakes import EMAIL, PASSWORD, Rig
from tests.fakes.ingress_fakes import rig as make_rig
from tests.support.people import Person

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

# Five seconds, Playwright's own limit, are about as long as the page looks away from a file.
expect.set_options(timeout=60_000)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip("no Chromium on this machine; `make test` installs it where apt is there")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield running
        await running.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    fresh = await browser.new_context(viewport={"width": 1280, "height": 800})
    yield fresh
    await fresh.close()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    opened = await context.new_page()
    opened.set_default_timeout(60_000)
    return opened


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    return tmp_path_factory.mktemp("stage")


@pytest.fixture
async def rig(tmp_path, stage) -> AsyncIterator[Rig]:
    (tmp_path / "static").symlink_to(pages.STATIC)
    async with make_rig(tmp_path, stage) as made:
        yield made


@pytest.fixture
async def resident(rig: Rig) -> AsyncIterator[Person]:
    """Somebody with an account on ``rig``, signed in."""
    await rig.add_user()
    async with AsyncClient(rig.url, timeout_seconds=60) as client:
        yield Person(EMAIL, client, await client.login(EMAIL, PASSWORD))
