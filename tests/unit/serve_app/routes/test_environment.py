"""Variables, secrets and preferences over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coditect import Conflict, InvalidRequest, NotFound, QuotaExceeded
from tests.fakes.ingress_fakes import ADMIN_EMAIL

VALUE = "a-value-that-nobody-is-shown"


async def test_variables_are_set_listed_in_pages_and_taken_back(rig, ada):
    for name in ("B", "A", "C"):
        assert (await ada.set_variable(name, f"of {name}")).value == f"of {name}"
    assert [each.name async for each in ada.variables()] == ["A", "B", "C"]
    http = rig.http(ada)
    first = (await http.get("/api/v1/variables", params={"limit": 2})).json()
    assert ([each["name"] for each in first["variables"]], first["next"]) == (["A", "B"], "B")
    rest = (await http.get("/api/v1/variables", params={"after": "B"})).json()
    assert ([each["name"] for each in rest["variables"]], rest["next"]) == (["C"], None)
    assert (await http.put("/api/v1/variables/D", json={"value": ""})).status_code == 201
    assert (await http.put("/api/v1/variables/D", json={"value": "x"})).status_code == 200
    assert (await ada.variable("D")).value == "x"
    await ada.delete_variable("D")
    with pytest.raises(NotFound):
        await ada.variable("D")
    assert (await ada.me()).usage.variables.used == 3


async def test_a_secret_is_never_shown_again_nor_kept_or_noted_in_clear(rig, ada, tmp_path):
    http = rig.http(ada)
    body = {"value": VALUE, "host": "API.example.com"}
    for status in (201, 200):
        answer = await http.put("/api/v1/secrets/TOKEN", json=body)
        assert (answer.status_code, answer.json()["host"]) == (status, "api.example.com")
        assert VALUE not in answer.text
    for path in ("/api/v1/secrets", "/api/v1/secrets/TOKEN"):
        assert VALUE not in (await http.get(path)).text
    assert [(each.name, each.locked) async for each in ada.secrets()] == [("TOKEN", False)]
    async with await rig.sign_in(ADMIN_EMAIL) as admin:
        lines = await admin.audit(action="secret")
        assert [(line["action"], line["resource"]) for line in lines] == [
            ("secret.set", "secrets/TOKEN")
        ] * 2
        assert VALUE not in str(await admin.audit())
    await ada.delete_secret("TOKEN")
    assert [each async for each in ada.secrets()] == []
    kept = [Path(place, name) for place, _, names in os.walk(tmp_path / "store") for name in names]
    assert kept
    assert not any(VALUE.encode() in path.read_bytes() for path in kept)


async def test_a_secret_for_a_host_says_how_it_is_added_and_is_no_variable(rig, ada):
    async def put(name: str, **how):
        return await ada.set_secret(name, VALUE, host="Git.example:8443", **how)

    made = await put("GIT", use="basic", username="ada", https=True)
    assert (made.host, made.use, made.username) == ("git.example:8443", "basic", "ada")
    made = await put("KEY", use="header", header="X-Key", https=True)
    assert (made.use, made.username, made.header, made.https) == ("header", None, "X-Key", True)
    plain = await put("PLAIN")
    assert (plain.use, plain.header, plain.https) == ("bearer", "Authorization", False)
    with pytest.raises(Conflict, match="GIT"):  # two in one header
        await put("TOKEN", https=True)
    assert (await put("GIT", https=True)).username is None  # the same one, otherwise


async def test_what_no_request_can_carry_is_refused(rig, ada):
    for how in (
        {"use": "basic"},
        {"use": "basic", "username": "a:b"},
        {"username": "a"},
        {"use": "header"},
        {"header": "X-Key"},
        {"use": "header", "header": "Host"},
        {"use": "header", "header": "Proxy-Authorization"},
        {"use": "header", "header": "X Key"},
        {"use": "header", "header": "X-Key", "value": "two\r\nX: lines"},
        {"use": "other"},
        {"value": "x" * 9000},
        {"host": None, "https": True},
    ):
        body = {"value": VALUE, "host": "git.example"} | how
        answer = await rig.http(ada).put("/api/v1/secrets/A", json=body)
        assert answer.status_code == 422, how
        assert body["value"] not in answer.text


async def test_everybody_has_their_own(rig, ada):
    await ada.set_variable("A", "hers")
    await ada.set_secret("B", VALUE)
    async with await rig.sign_in("bob@example.com") as bob:
        assert [each async for each in bob.variables()] == []
        assert [each async for each in bob.secrets()] == []
        with pytest.raises(NotFound):
            await bob.delete_secret("B")
        with pytest.raises(NotFound):
            await bob.variable("A")


async def test_names_and_values_are_checked_and_values_not_repeated(rig, ada):
    for name in ("LD_PRELOAD", "PATH", "1A", "A B"):
        with pytest.raises(InvalidRequest, match="name"):
            await ada.set_variable(name, "x")
        with pytest.raises(InvalidRequest, match="name"):
            await ada.set_secret(name, "x")
    http = rig.http(ada)
    for body in (
        {"value": f"{VALUE}\0"},
        {"value": VALUE * 2000},
        {"value": 5},
        {},
        {"valeu": VALUE},
    ):
        for kind in ("variables", "secrets"):
            answer = await http.put(f"/api/v1/{kind}/A", json=body)
            assert answer.status_code == 422
            assert VALUE not in answer.text
    surrogate = b'{"value": "\\ud800"}'
    assert (await http.put("/api/v1/secrets/A", content=surrogate)).status_code == 422
    assert (await http.put("/api/v1/secrets/A", json={"value": ""})).status_code == 422
    assert (
        await http.put("/api/v1/secrets/A", json={"value": "x", "host": "a/b"})
    ).status_code == 422
    await ada.set_variable("A", "x")
    with pytest.raises(Conflict):
        await ada.set_secret("A", "x")


async def test_an_administrator_gives_one_user_another_limit(rig, ada):
    async with await rig.sign_in(ADMIN_EMAIL) as admin:
        await admin.set_quotas((await ada.me()).user_id, variables=1)
    await ada.set_variable("A", "x")
    with pytest.raises(QuotaExceeded, match="variables"):
        await ada.set_secret("B", "x")


async def test_preferences_are_changed_one_by_one_and_checked(rig, ada):
    assert (await ada.preferences()).time_zone is None
    await ada.change_preferences(time_zone="Europe/Berlin", shell="/bin/sh")
    changed = await ada.change_preferences(
        shell=None, dotfiles_repository="https://example.com/dotfiles.git"
    )
    assert (changed.time_zone, changed.shell) == ("Europe/Berlin", None)
    assert await ada.preferences() == changed
    for wrong in (
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../../etc/passwd"},
        {"shell": "bash"},
        {"dotfiles_repository": "--upload-pack=x"},
        {"colour": "red"},
    ):
        with pytest.raises(InvalidRequest):
            await ada.change_preferences(**wrong)


async def test_a_lost_key_locks_secrets_and_nothing_else(rig, ada, tmp_path):
    await ada.set_secret("A", VALUE)
    await ada.set_variable("B", "x")
    (tmp_path / "secret.key").rename(tmp_path / "elsewhere")
    rig.deps.environments._keys = None  # as after a start
    assert [(each.name, each.locked) async for each in ada.secrets()] == [("A", True)]
    assert [each.name async for each in ada.variables()] == ["B"]
    answer = await rig.http(ada).put("/api/v1/secrets/C", json={"value": "x"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "secret.key" in answer.json()["detail"]
    (tmp_path / "elsewhere").rename(tmp_path / "secret.key")
    assert not (await ada.secret("A")).locked
