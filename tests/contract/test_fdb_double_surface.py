"""The double has the names and parameters of the ``fdb`` module itself, native library or not."""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import sys
from types import ModuleType
from unittest.mock import MagicMock

import fdb
import pytest

from cluster.store.engines.interface import MutationKind
from tests.fakes import fdb_double


@pytest.fixture
def binding(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The binding's ``impl`` module, executed apart, with nothing behind it."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: MagicMock())
    [directory] = fdb.__path__
    spec = importlib.util.spec_from_file_location("fdb_impl_apart", f"{directory}/impl.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def public(kind: type) -> list[str]:
    return [name for name in vars(kind) if name.startswith(("get", "set", "add", "on_", "clear"))]


def test_transactions(binding):
    ours, theirs = fdb_double.Transaction, binding.Transaction
    for name in [*public(ours), "commit", "reset", "watch"]:
        assert parameters(getattr(theirs, name)) == parameters(getattr(ours, name)), name
    snapshot = binding.TransactionRead
    for name in ("get", "_get_range"):
        assert parameters(getattr(snapshot, name)) == parameters(
            getattr(fdb_double._Snapshot, name)
        )


def test_atomic_operations_carry_their_numbers(binding):
    for kind in set(MutationKind) - {MutationKind.SET, MutationKind.CLEAR_RANGE}:
        transaction = MagicMock()
        getattr(binding.Transaction, kind.name.lower())(transaction, b"key", b"operand")
        transaction._atomic_operation.assert_called_once_with(kind.value, b"key", b"operand")


def test_options(binding):
    for name in ("set_timeout", "set_read_your_writes_disable"):
        assert hasattr(binding._TransactionOptions, name)
    for name in ("password", "cert_path", "key_path", "ca_path", "verify_peers"):
        assert hasattr(binding._NetworkOptions, f"set_tls_{name}")
    assert binding.StreamingMode.want_all == fdb_double.StreamingMode.want_all
    assert binding.StreamingMode.exact == fdb_double.StreamingMode.exact


def test_futures_selectors_and_errors(binding):
    for name in ("is_ready", "on_ready", "wait", "cancel"):
        assert parameters(getattr(binding.Future, name)) == parameters(
            getattr(fdb_double.Future, name)
        )
    assert issubclass(binding.Value, binding.LazyFuture)
    assert "value" in vars(binding.LazyFuture)
    selector = binding.KeySelector.first_greater_or_equal(b"k")
    assert (selector.key, selector.or_equal, selector.offset) == (b"k", False, 1)
    assert binding.FDBError(1020).code == fdb_double.FDBError(1020).code


def test_opening(binding):
    assert parameters(binding.open)[0] == parameters(fdb_double.FdbDouble.open)[1]
    assert parameters(fdb.api_version) == ["ver"]
    assert parameters(binding.Database.create_transaction) == ["self"]
