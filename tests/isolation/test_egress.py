"""Programs in real containers go out by the gateway, as far as they may, and by nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from actors.core.records.egress import EgressPolicy
from actors.core.records.environment import Binding, SecretUse
from cluster.clock import SystemClock
from cluster.codi.bundle import bundle
from cluster.codi.client import HttpCodiClient
from cluster.egress import authority, doorway
from cluster.egress.mirrors import Mirrors
from cluster.egress.policy import Rules, parse_hosts
from cluster.runtime.registry import Processes
from cluster.runtime.root.way_out import WayOut
from cluster.runtime.sandbox import SandboxRuntime
from tests.isolation.inside import spec
from tests.support import registries
from tests.support.egress import Inside, Node, web
from tests.support.secure_web import GIT_BACKEND, make_certificate, secure_git
from tests.support.waiting import wait_until

pytestmark = pytest.mark.sandbox

HOST = "site.test"
SECRET = "a-secret-that-stays-outside"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    (directory / "hello").write_text("hello from outside\n")
    with web(directory) as port:
        yield directory, port


@dataclass(frozen=True)
class Git:
    port: int
    root: Path
    certificate: Path


@pytest.fixture(scope="module")
def git(tmp_path_factory):
    """Serve an empty repository, ``work.git``, to whoever has the password."""
    directory = tmp_path_factory.mktemp("git")
    certificate = directory / "authority.pem"
    both = make_certificate(certificate, HOST)
    repository = directory / "work.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(repository)], check=True)
    with secure_git(directory, SECRET, both) as port:
        yield Git(port, directory, certificate)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory, site, git):
    """Return a node, two containers with a session each, and the port of what is outside."""
    _, port = site
    data = tmp_path_factory.mktemp("data")
    hosts = parse_hosts(f"{HOST}:{port},{HOST}:{git.port},other.test:{git.port}")
    rules = Rules(hosts=hosts, allow=parse_hosts("allowed.test"))
    names = {name: ["127.0.0.1"] for name in (HOST, "rebound.test", "other.test")}
    node = Node(data, rules=rules, names=names)
    node.upstream.load_verify_locations(git.certificate)
    node.start()
    mirrors = Mirrors(pip=f"http://{HOST}:{port}/simple/", npm=f"http://{HOST}:{port}/npm/")
    trusted = authority.certificate(data, SystemClock().now())
    runtime = SandboxRuntime(
        data,
        "n",
        agent=bundle(data / "runtime"),
        clock=SystemClock(),
        way_out=WayOut(mirrors, authority=trusted),
    )
    async with HttpCodiClient() as client:
        inside = []
        for name in ("one", "two"):
            handle = await runtime.launch(spec(name, egress="gateway", memory_bytes=512 << 20))
            await node.serve(handle, f"s-c-{name}")
            inside.append(Inside(handle, client))
        yield node, inside, port
    await node.stop()
    for handle in await runtime.list():
        await runtime.stop(handle, 0)
    assert not list((data / "runtime" / "egress").iterdir())


@pytest.mark.asyncio(loop_scope="module")
async def test_curl_reaches_what_it_may_in_every_way(world):
    node, (one, _), port = world
    url = f"http://{HOST}:{port}/hello"
    for option in ("", "-p", "--socks5-hostname 127.0.0.1:3128"):
        assert await one.run(f"curl -sS {option} {url}") == "hello from outside\n", option
    assert await one.run(f"curl -sS --data-binary abc http://{HOST}:{port}/") == "abc"
    await node.sessions.flush()
    assert (f"{HOST}:{port}", "ok") in node.trail.said()
    used = node.books.used["s-c-one"]
    assert used.connections >= 4
    assert min(used.received, used.sent) > 100


@pytest.mark.asyncio(loop_scope="module")
async def test_what_knows_no_proxy_goes_by_the_program_between(world):
    _, (one, _), port = world
    request = r"printf 'GET /hello HTTP/1.0\r\n\r\n'"
    said = await one.run(f"{request} | /etc/coditect/connect {HOST} {port}")
    assert said.startswith("HTTP/1.1 200 OK\r\n")
    assert said.endswith("hello from outside\n")
    said = await one.run(f"head -c 3000000 /dev/zero | {_post(port)} | tail -c 3000000 | sha256sum")
    assert said.split()[0] == hashlib.sha256(bytes(3_000_000)).hexdigest()
    assert "is private" in await one.run("/etc/coditect/connect 10.0.0.1 22; echo code $?")
    if shutil.which("git", path="/usr/bin"):
        git = "GIT_CONFIG_SYSTEM=/etc/gitconfig git clone git://10.0.0.1/x.git"
        assert "is private" in await one.run(git)


def _post(port: int) -> str:
    """Return a pipeline that posts its input by way of the program between, and prints the answer."""
    head = r"printf 'POST / HTTP/1.0\r\nContent-Length: 3000000\r\n\r\n'"
    return f"( {head}; cat ) | /etc/coditect/connect {HOST} {port}"


REFUSED = {
    "http://127.0.0.1:1/": "loopback",
    "http://2130706433/": "loopback",
    "http://0x7f.1/": "loopback",
    "http://017700000001/": "loopback",
    "http://[::1]/": "loopback",
    "http://0.0.0.0/": "unspecified",
    "http://localhost:1/": "loopback",
    "http://rebound.test/": "loopback",
    "http://169.254.169.254/latest/meta-data/": "link_local",
    "http://10.1.2.3/": "private",
    "http://100.64.0.1/": "carrier_grade",
    "http://224.0.0.1/": "multicast",
    "http://[::ffff:169.254.169.254]/": "ipv4_mapped",
    "http://[64:ff9b::a9fe:a9fe]/": "nat64",
    "http://[2002:7f00:1::]/": "six_to_four",
    "http://[2001:0:1::]/": "teredo",
    "http://[fd00:ec2::254]/": "private",
    "http://[fe80::1]/": "link_local",
}


@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_reaches_what_is_not_public_in_any_spelling(world):
    node, (one, _), port = world
    # The programs themselves would not send some of these to a proxy.
    proxies = {"http": "-x http://127.0.0.1:3128", "socks": "--socks5-hostname 127.0.0.1:3128"}
    script = "\n".join(
        f"NO_PROXY= no_proxy= curl -gsS {proxies['http']} '{url}'; echo =" for url in REFUSED
    )
    answers = (await one.run(script)).split("=\n")
    for (url, rule), answer in zip(REFUSED.items(), answers, strict=False):
        assert f"(rule {rule})" in answer, (url, answer)
    script = "\n".join(
        f"NO_PROXY= no_proxy= curl -gs {proxies['socks']} '{url}'; echo $?" for url in REFUSED
    )
    assert set((await one.run(script)).split()) == {"97"}  # CURLE_PROXY
    redirected = f"http://{HOST}:{port}/redirect?http://rebound.test/"
    assert "(rule loopback)" in await one.run(f"curl -sSL {redirected}")
    await node.sessions.flush()
    refusals = node.books.used["s-c-one"].refusals
    assert {refused.rule for refused in refusals} == set(REFUSED.values())
    assert refusals[0].host == "rebound.test"
    assert "is the server itself" in refusals[0].reason


@pytest.mark.asyncio(loop_scope="module")
async def test_programs_say_which_rule_refused(world):
    _, (one, _), _ = world
    said = await one.run("curl -sS http://10.0.0.1/; curl -sSv https://10.0.0.1/ 2>&1")
    assert said.startswith("coditect: 10.0.0.1 is private (rule private)")
    assert "403 Forbidden: 10.0.0.1 is private (rule private)" in said
    if shutil.which("wget", path="/usr/bin"):
        assert "(rule private)" in await one.run("wget -O- http://10.0.0.1/")
    if shutil.which("git", path="/usr/bin"):
        assert "403" in await one.run("git clone https://10.0.0.1/x.git")
    if shutil.which("ssh", path="/usr/bin"):
        assert "(rule private)" in await one.run("ssh -o BatchMode=yes x@10.0.0.1")
    if shutil.which("pip", path="/usr/bin"):
        index = "--index-url https://10.0.0.1/simple --retries 1"
        assert "(rule private)" in await one.run(f"pip download {index} nothing")


@pytest.mark.asyncio(loop_scope="module")
async def test_there_is_no_other_way_out(world, site):
    node, (one, two), port = world
    script = f"""
    cat /proc/net/route /proc/net/fib_trie | grep -c 'eth\\|172\\.'
    curl --noproxy '*' -sS -m 2 http://127.0.0.1:{port}/hello
    curl --noproxy '*' -sS -m 2 http://169.254.169.254/
    getent hosts {HOST} || echo no name
    ls -A /run/coditect /run/coditect/egress
    touch /run/coditect/egress/x; rm -f /run/coditect/egress/gateway
    ls /proc/[0-9]*/fd 2>/dev/null | wc -l >/dev/null
    """
    said = await one.run(script)
    assert "hello" not in said
    assert said.startswith("0\n")
    assert "no name" in said
    assert said.count("gateway") >= 1
    assert said.count("Read-only file system") >= 1
    neighbour = doorway.directory(node.data_dir, two.handle.container_id)
    assert "No such file" in await one.run(f"ls -A {neighbour}")
    assert "hello" in await one.run(f"curl -sS http://{HOST}:{port}/hello")


@pytest.mark.asyncio(loop_scope="module")
async def test_policies_are_of_each_session_and_change_at_once(world):
    node, (one, two), port = world
    url = f"http://{HOST}:{port}/hello"
    node.choose("s-c-two", EgressPolicy.NONE)

    async def refused() -> str:
        return await two.run(f"curl -sS {url}")

    said = await wait_until(refused, lambda answer: "hello" not in answer)
    assert "policy is none (rule none)" in said
    assert "hello" in await one.run(f"curl -sS {url}")
    node.choose("s-c-two", EgressPolicy.ALLOW_LIST, "*.elsewhere.test")

    async def listed() -> str:
        return await two.run(f"curl -sS http://other.test/; curl -sS {url}")

    said = await wait_until(listed, lambda answer: "(rule allow_list)" in answer)
    assert "other.test:80 is not in this session's allow list" in said
    assert "hello" in said  # the operator's host
    node.choices.clear()
    node.changed.set()
    await wait_until(refused, lambda answer: "hello" in answer)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_change_of_policy_ends_what_is_under_way(world):
    node, (_, two), port = world
    url = f"http://{HOST}:{port}/bytes?100000000000"
    running = asyncio.create_task(two.run(f"curl -sSp -o /dev/null {url}; echo $?"))

    async def received() -> int:
        await node.sessions.flush()
        use = node.books.used.get("s-c-two")
        return use.received if use else 0

    await wait_until(received, lambda count: count > 1 << 20)
    node.choose("s-c-two", EgressPolicy.NONE)
    assert "18" in await asyncio.wait_for(running, 60)  # a partial file
    node.choices.clear()
    node.changed.set()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_gateway_that_is_gone_is_waited_for(world):
    node, (one, two), port = world
    url = f"http://{HOST}:{port}/hello"
    await node.stop()
    waiting = [asyncio.create_task(each.run(f"curl -sS {url}")) for each in (one, two)]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in waiting)
    node.start()
    assert await asyncio.gather(*waiting) == ["hello from outside\n"] * 2


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_codi_gives_the_way_out_back(world):
    _, (one, _), port = world
    agent = Processes.of(one.handle).agent
    os.kill(agent.pid, 9)
    script = f"curl -sS http://{HOST}:{port}/hello"

    async def answer() -> str:
        try:
            return await one.run(script)
        except Exception as error:  # CODI is not there yet
            return str(error)

    await wait_until(answer, lambda said: said == "hello from outside\n")


@pytest.mark.asyncio(loop_scope="module")
async def test_pip_installs_and_npm_installs_from_the_operators_mirrors(world, site):
    _, (one, _), port = world
    directory, _ = site
    registries.make_wheel(directory / "simple" / "tinything")
    if shutil.which("pip", path="/usr/bin"):
        said = await one.run("pip install --user tinything && python3 -c 'import tinything'")
        assert "Successfully installed" in said, said
    elif shutil.which("python3", path="/usr/bin"):
        pytest.skip("no pip in containers here")
    if shutil.which("npm", path="/usr/bin"):
        registries.make_package(directory / "npm", f"http://{HOST}:{port}/npm")
        install = "npm install --no-audit --no-fund --silent tinything"
        script = f"mkdir -p p && cd p && {install} && node -p \"require('tinything')\""
        assert (await one.run(script, 110)).strip().endswith("42")


@pytest.mark.asyncio(loop_scope="module")
async def test_git_clones(world, site):
    if not shutil.which("git", path="/usr/bin"):
        pytest.skip("no git in containers here")
    _, (one, _), port = world
    directory, _ = site
    script = """
    git init -q -b main work && cd work && echo content >file && git add file
    git -c user.name=a -c user.email=a@b commit -q -m one && cd ..
    git clone -q --bare work repository.git && cd repository.git && git update-server-info
    """
    environment = {"HOME": str(directory), "PATH": os.environ["PATH"]}
    subprocess.run(["bash", "-ec", script], cwd=directory, check=True, env=environment)
    url = f"http://{HOST}:{port}/repository.git"
    assert await one.run(f"git clone -q {url} cloned && cat cloned/file") == "content\n"


@pytest.mark.skipif(not GIT_BACKEND.exists(), reason="git serves no HTTP on this machine")
@pytest.mark.asyncio(loop_scope="module")
async def test_git_works_with_a_private_repository_whose_password_stays_outside(world, git):
    node, (one, two), _ = world
    url = f"https://{HOST}:{git.port}/work.git"
    clone = f"cd /workspace && GIT_TERMINAL_PROMPT=0 git clone -q {url} work; echo code $?"
    assert "code 128" in await one.run(clone)  # nothing is bound: nothing is opened, or trusted
    binding = Binding(use=SecretUse.BASIC, username="git", https=True)
    node.secrets.bind("u-s-c-one", "GIT", SECRET, f"{HOST}:{git.port}", binding)

    async def asks() -> str:  # the gateway looks once a second
        return await one.run(f"GIT_TERMINAL_PROMPT=0 git ls-remote {url}; echo code $?")

    await wait_until(asks, lambda said: said == "code 0\n")
    script = f"""
    set -e; cd /workspace; export GIT_CONFIG_SYSTEM=/etc/gitconfig;
    git clone -q {url} work 2>/dev/null; cd work  # it is empty, and git says so
    git config user.name a; git config user.email a@example.com; git checkout -q -b main
    head -c 3000000 /dev/urandom > large; git add large; git commit -q -m first
    git push -q origin main; git ls-remote -q origin main | wc -l; git fetch -q
    cd ..; git clone -q {url} again; cmp work/large again/large && echo same
    """
    assert await one.run(script) == "1\nsame\n"
    places = "env; cat /proc/*/environ /proc/*/cmdline; cat work/.git/config; cat /etc/gitconfig"
    assert SECRET not in await one.run(f"cd /workspace; ({places}) 2>/dev/null | tr '\\0' '\\n'")
    look = f"grep -r '[{SECRET[0]}]{SECRET[1:]}' /workspace /etc /run /tmp 2>/dev/null"
    assert await one.run(look) == ""
    # Another user's container has none of it, nor has another name of the same server.
    assert "code 128" in await two.run(clone)
    other = f"curl -sS https://{HOST}:{git.port}/ -H 'Host: other.test'"
    assert "alone (rule other_host)" in await one.run(other)
    assert "certificate" in await one.run(f"curl -sS https://other.test:{git.port}/")
    assert "401" in await one.run(f"curl -ksi https://other.test:{git.port}/work.git")
