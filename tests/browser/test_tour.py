"""A day's work: clone, install, serve, look, change, come by SSH, lose the container, go on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support import registries
from tests.support.egress import web
from tests.support.pages import see, sign_in, type_line
from tests.support.secure_web import secure_web

pytestmark = [pytest.mark.ray, pytest.mark.browser, pytest.mark.timeout(300)]

APPLICATION = Path(__file__).parents[1] / "support" / "reloading_page.py"
TOOLS = ("git", "pip", "npm", "ssh", "rsync")


def make_repository(directory: Path) -> None:
    """Make a repository of an application with packages from two registries."""
    work = directory / "work"
    work.mkdir(parents=True)
    (work / "requirements.txt").write_text("tinything==1.0\n")
    (work / "package.json").write_text(
        json.dumps({"name": "application", "dependencies": {"tinything": "1.0.0"}})
    )
    (work / "application.py").write_bytes(APPLICATION.read_bytes())
    (work / "page.txt").write_text("the first page\n")
    script = """
    git init -q -b main . && git add .
    git -c user.name=a -c user.email=a@example.com commit -q -m first
    git clone -q --bare . ../application.git && cd ../application.git && git update-server-info
    """
    environment = {"HOME": str(directory), "PATH": os.environ["PATH"]}
    subprocess.run(["bash", "-ec", script], cwd=work, check=True, env=environment)


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


async def test_a_days_work(page, context, person, server, tmp_path):
    missing = [tool for tool in TOOLS if not shutil.which(tool, path="/usr/bin")]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    client, session_id = person.client, person.session_id
    site, certificate = tmp_path / "site", tmp_path / "authority.pem"
    make_repository(site)
    registries.make_wheel(site / "simple" / "tinything")
    with web(site) as port, secure_web(site, certificate) as secure_port:
        registries.make_package(site / "npm", f"http://localhost:{port}/npm")
        # What a person sets once at their account.
        await client.set_variable("PIP_INDEX_URL", f"http://localhost:{port}/simple/")
        await client.set_variable("npm_config_registry", f"http://localhost:{port}/npm/")
        await client.set_variable("GIT_SSL_CAINFO", "/workspace/authority.pem")
        await client.write_file(session_id, "authority.pem", certificate.read_bytes())

        await sign_in(page, server.url.replace("127.0.0.1", "localhost"), person.email)
        await type_line(page, "bash")  # a shell that has what was set meanwhile
        # These registries are called localhost, which programs would look for inside.
        await type_line(page, "export NO_PROXY= no_proxy=; clear")
        await type_line(page, f"git clone -q https://localhost:{secure_port}/application.git")
        await type_line(
            page, "cd application && pip install --user -q -r requirements.txt; echo pip $?"
        )
        await see(page, "pip 0")
        await type_line(page, "npm install --no-audit --no-fund --silent; echo npm $?")
        await see(page, "npm 0")

    await type_line(page, "python3 application.py 5173")
    notice = page.get_by_role("status").filter(has_text="listens on port 5173")
    async with context.expect_page() as opening:
        await notice.get_by_text("Open").click()
    shown = await opening.value
    await expect(shown.locator("h1")).to_have_text("the first page")
    await expect(shown.locator("#packages")).to_have_text("42 42")

    # A change is seen without a word.
    await client.write_file(session_id, "application/page.txt", b"the second page\n")
    await expect(shown.locator("h1")).to_have_text("the second page")

    key, ssh_port = tmp_path / "key", json.loads((server.data_dir / "ssh.json").read_text())["port"]
    await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    await client.add_ssh_key(key.with_suffix(".pub").read_text())
    options = ["-p", str(ssh_port), "-i", str(key), "-o", "BatchMode=yes", "-F", "none"]
    options += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known"]
    place = f"{session_id}@127.0.0.1"
    assert "the second page" in await run("ssh", *options, place, "cat application/page.txt")
    there = tmp_path / "there"
    there.mkdir()
    for number in range(50):
        (there / f"file{number}").write_text(f"{number}\n")
    await run("rsync", "-a", "-e", " ".join(["ssh", *options]), f"{there}/", f"{place}:there/")
    found = await client.exec(session_id, ["bash", "-c", "cat there/* | sort -n | tail -1"])
    assert found.stdout == "49\n"

    container = (await client.session(session_id)).container_id
    os.kill(server.containers()[container], signal.SIGKILL)
    await type_line(page, "cd ~/application && echo go''es on")
    await see(page, "goes on")
    await type_line(page, "python3 application.py 5173")
    await expect(notice).to_be_visible()
    await shown.reload()
    await expect(shown.locator("h1")).to_have_text("the second page")
    await client.write_file(session_id, "application/page.txt", b"the third page\n")
    await expect(shown.locator("h1")).to_have_text("the third page")
