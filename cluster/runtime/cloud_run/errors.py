"""The one error of a call to Cloud Run. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import CoditectError
from cluster.runtime.cloud_run.operations import Outcome


@dataclass(eq=False)
class CallFailed(CoditectError):
    """Cloud Run did not do what it was asked for, or did not say so: ``outcome`` tells which."""

    code = "unavailable"
    retryable = True
    text = "Cloud Run: {status}: {detail}"

    outcome: Outcome
    status: str
    detail: str
