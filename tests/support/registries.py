"""Registries of packages: the public one of Python as pip knows it, and ones of a package each, made here."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from pip._internal.models.index import PyPI

REACH_SECONDS = 10.0


def hosts() -> list[str]:
    """Return the hosts that pip asks unless it is told otherwise."""
    return [str(urlsplit(PyPI.simple_url).hostname), PyPI.file_storage_domain]


def is_reached() -> bool:
    """Return whether this machine reaches the registry."""
    try:
        with urllib.request.urlopen(f"{PyPI.simple_url}/pip/", timeout=REACH_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def make_wheel(directory: Path) -> None:
    """Make the page of the package ``tinything`` in an index of Python packages."""
    directory.mkdir(parents=True)
    name = "tinything-1.0-py3-none-any.whl"
    with zipfile.ZipFile(directory / name, "w") as wheel:
        wheel.writestr("tinything.py", "answer = 42\n")
        info = "tinything-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    (directory / "index.html").write_text(f'<a href="{name}">{name}</a>')


def make_package(directory: Path, url: str) -> None:
    """Make the package ``tinything`` in a registry for npm, which is served at a URL."""
    directory.mkdir(parents=True)
    files = {
        "package/package.json": json.dumps(
            {"name": "tinything", "version": "1.0.0", "main": "index.js"}
        ),
        "package/index.js": "module.exports = 42\n",
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    (directory / "tinything-1.0.0.tgz").write_bytes(archive.getvalue())
    dist = {
        "tarball": f"{url}/tinything-1.0.0.tgz",
        "shasum": hashlib.sha1(archive.getvalue()).hexdigest(),
    }
    version = {"name": "tinything", "version": "1.0.0", "dist": dist}
    packument = {
        "name": "tinything",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": version},
    }
    (directory / "tinything").write_text(json.dumps(packument))
