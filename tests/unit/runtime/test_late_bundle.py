"""CODI's files, when a container is started and not before."""

from __future__ import annotations

import pytest

from cluster.codi.bundle import Limits
from cluster.wiring import containers


def test_nothing_is_packed_until_it_is_needed_and_then_once(tmp_path, monkeypatch):
    packed = []

    def gone(*asked):
        packed.append(asked)
        raise FileNotFoundError("the package was replaced")

    late = containers.LateBundle(tmp_path, Limits())
    monkeypatch.setattr(containers, "bundle", gone)
    assert packed == []
    with pytest.raises(FileNotFoundError):
        _ = late.ro_binds
    monkeypatch.undo()
    assert late.python_argv[-1] == late.python_argv[-1]
    assert late.ro_binds
    assert late.lasts
    assert [each.name[:5] for each in tmp_path.iterdir()] == ["codi-"]
