"""Files, symbols and addresses that the documents name are there."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"[\w.@-][\w./@-]*\.(?:py|tsx?|css|json|toml|md|mjs|sh)\b(?!\()")
SYMBOLS = re.compile(r"([\w][\w./-]*\.(?:py|tsx?)): ([A-Za-z_][\w.]*)")
MADE = {"api/openapi.json", "coditect.toml", "run/secrets.json"}
"""Made by a running server, or by people."""
LINKS = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@cache
def files() -> tuple[str, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(listed.stdout.split("\n"))


def candidates(name: str) -> list[str]:
    """Return the files that a name may mean: whole paths, or their ends."""
    return [path for path in files() if path == name or path.endswith("/" + name)]


DOCUMENTS = [path for path in files() if path.endswith(".md") and path != "CHANGELOG.md"]


def code(path: str) -> str:
    """Return what a document sets as code, in lines or between backticks, fences apart."""
    text = (ROOT / path).read_text()
    return "\n".join(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_exists(document):
    missing = [
        name
        for name in NAMED.findall(code(document))
        if name not in MADE and not candidates(name.removeprefix("../"))
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_symbol_that_a_document_names_is_in_its_file(document):
    for name, symbol in SYMBOLS.findall(code(document)):
        texts = [(ROOT / path).read_text() for path in candidates(name)]
        for part in symbol.split("."):
            assert any(re.search(rf"\b{part}\b", text) for text in texts), f"{name}: {symbol}"


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_every_link_between_documents_leads_somewhere(document):
    here = (ROOT / document).parent
    missing = [
        link for link in LINKS.findall((ROOT / document).read_text()) if not (here / link).exists()
    ]
    assert missing == []
