"""The health of every component, and of the whole server."""

from __future__ import annotations

from types import SimpleNamespace

from cluster.doctor import checks
from cluster.doctor.checks import Check, Verdict
from cluster.paths import machine_file
from serve_app.telemetry import health
from serve_app.telemetry.health import Part


async def test_health_names_every_component_and_is_503_when_a_vital_one_is_down(rig):
    http = rig.http()
    good = await http.get("/api/admin/health")
    assert (good.status_code, good.json()["status"]) == (200, "ok")
    assert {
        "store",
        "pool",
        "supervisor",
        "health_checker",
        "journal",
        "archive",
        "egress",
        "ssh",
        "gcs",
        "serve",
        "runtime",
        "disk",
    } == set(good.json()["components"])
    del rig.actors.objects["pool-node-1"]
    bad = await http.get("/api/admin/health")
    assert (bad.status_code, bad.json()["status"]) == (503, "down")
    assert bad.json()["components"]["pool"]["status"] == "down"


LACK = Check("container ids", Verdict.WARNING, "they share one", "be root")


async def test_what_is_wanting_is_reported_of_what_is_well_and_does_not_make_it_ill():
    async def well():
        return None

    async def ill():
        return "no warm containers"

    notice = health.notice([LACK])
    said = await health._ask(Part("runtime", vital=False, ask=well, notice=notice))
    assert (said.status, said.detail) == ("ok", "wanting here: container ids")
    said = await health._ask(Part("runtime", vital=False, ask=ill, notice=notice))
    assert (said.status, said.detail) == ("degraded", "no warm containers")
    assert health.notice([]) is None


def test_it_is_what_the_server_found_at_its_start(tmp_path):
    deps = SimpleNamespace(settings=SimpleNamespace(data_dir=tmp_path))
    file = machine_file(tmp_path)
    assert health.machine(deps) == []
    file.parent.mkdir()
    file.write_text(checks.dump([Check("memory", Verdict.OK, "4 GiB"), LACK]))
    assert health.machine(deps) == [LACK]
    file.write_text("{")
    assert health.machine(deps) == []
