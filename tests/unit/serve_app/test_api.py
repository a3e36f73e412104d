"""The API describes itself whole."""

from __future__ import annotations

import re

from cluster.codi.terminals.frames import check_name


async def test_the_openapi_document_is_whole(rig):
    document = (await rig.http().get("/api/openapi.json")).json()
    operations = [
        (path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    assert len(operations) > 30
    for path, method, operation in operations:
        assert operation["description"], (path, method)
        for status, response in operation["responses"].items():
            if int(status) >= 400 and path not in {"/api/admin/health", "/readyz"}:
                assert list(response["content"]) == ["application/problem+json"], (path, status)
    schemas = document["components"]["schemas"]
    longest = schemas["KeepAwake"]["properties"]["seconds"]["maximum"]
    assert longest == rig.deps.settings.max_keep_awake
    pattern = schemas["NewTerminal"]["properties"]["name"]["pattern"]
    for name in ("main", "a b", "...", "x" * 64):
        assert re.search(pattern, name)
        assert check_name(name) == name
    for name in ("", ".", "..", "a/b", "x" * 65):
        assert not re.search(pattern, name)
    assert {"HTTPBearer", "APIKeyCookie"} <= document["components"]["securitySchemes"].keys()
