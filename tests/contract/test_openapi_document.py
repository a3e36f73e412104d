"""The OpenAPI document against the server: every operation, with what it allows and what it does not.

``CODITECT_TEST_API_EXAMPLES`` asks for more examples of each than the few of everyday.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fakes.ingress_fakes import ADMIN_EMAIL, Rig
from tests.fakes.ingress_fakes import rig as make_rig

EXAMPLES = int(os.environ.get("CODITECT_TEST_API_EXAMPLES", "2"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ENDS_WHAT_THE_OTHERS_NEED = {
    "POST /api/v1/auth/logout",
    "POST /api/v1/auth/password",
    "DELETE /api/v1/sessions/{session_id}",
    "POST /api/v1/sessions/{session_id}/hibernate",
}
WITHOUT_AN_END = {"GET /api/v1/sessions/{session_id}/watch/{path}"}
NOT_OF_A_SERVER_IN_ONE_PROCESS = {"GET /api/admin/backups", "POST /api/admin/backups"}
MAX_URL = 48 << 10
"""Of more than 64 KiB of a request's head uvicorn answers by itself, and HAProxy of less."""
LEFT_OUT = ENDS_WHAT_THE_OTHERS_NEED | NOT_OF_A_SERVER_IN_ONE_PROCESS | WITHOUT_AN_END

pytestmark = pytest.mark.timeout(max(300, 60 * EXAMPLES))


@pytest.fixture
async def rig(tmp_path) -> AsyncIterator[Rig]:
    async with make_rig(tmp_path, tmp_path / "stage") as made:
        yield made


class Caller:
    """Somebody signed in; collects answers of operations that the document does not describe."""

    def __init__(self, url: str, token: str, session_id: str) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"}
        self._session_id = session_id
        self.wrong: list[str] = []
        self.answered = 0

    def try_all(self, operation: APIOperation) -> None:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            cases = operation.as_strategy(generation_mode=mode)
            once = settings(
                max_examples=EXAMPLES,
                phases=[Phase.generate],
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )(given(cases)(self._once))
            try:
                once()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, "nothing is allowed"

    def _once(self, case: schemathesis.Case) -> None:
        if "session_id" in (case.path_parameters or {}):
            case.path_parameters["session_id"] = self._session_id
        answer = case.call(base_url=self._url, headers=self._headers, timeout=60)
        self.answered += 1
        if len(answer.request.url) > MAX_URL:
            return
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                self.wrong.append(f"{case.operation.label}: {failure}")


@pytest.mark.parametrize("email", ["ada@example.com", ADMIN_EMAIL])
async def test_every_answer_is_one_that_the_document_describes(rig, email):
    async with await rig.sign_in(email) as client:
        session_id = (await client.sessions())[0].session_id
        caller = Caller(rig.url, client.access_token, session_id)
        schema = schemathesis.openapi.from_dict(rig.app.openapi())
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) > 30
        for operation in operations:
            if operation.label not in LEFT_OUT:
                await asyncio.to_thread(caller.try_all, operation)
        assert (await client.session(session_id)).session_id == session_id
    assert caller.answered > len(operations)
    assert not caller.wrong, "\n\n".join(caller.wrong)
