"""Packs what a container must be shown so that CODI can run in it, with the command that starts it.

CODI's code and the few libraries it uses are staged in a directory of their own, so that a container
sees nothing else of the server; compiled and in one file, so that it starts without compiling or searching.
"""

from __future__ import annotations

import compileall
import errno
import hashlib
import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# By its own place: a data directory may be moved, with the stages in it.
_START = """\
import sys
stage = __file__.rpartition("/")[0]
sys.path.insert(0, stage)
from start import start
start(stage)
"""

_OWN_FILES = (
    "__init__.py",
    "codi/__init__.py",
    "codi/conditions.py",
    "codi/journal_protocol.py",
    "codi/programs/__init__.py",
    "codi/programs/background.py",
    "codi/programs/frames.py",
    "codi/terminals/__init__.py",
    "codi/terminals/checkpoints.py",
    "codi/terminals/frames.py",
    "codi/terminals/modes.py",
    "codi/terminals/state.py",
    "codi/terminals/protocol.py",
    "codi/terminals/ring.py",
    "codi/terminals/sizing.py",
)
_IMAGE = Path(__file__).resolve().parent / "image"
_PACK = _IMAGE / "pack.py"
_PACK_SECONDS = 60.0
_FLAGS = ("-I", "-S", "-B", "-X", "frozen_modules=on")
"""No environment, no user site; no site; nothing written: the stage is read-only."""

_LIBRARIES = ("h11", "blake3", "pyfastcdc", "typing_extensions")
_LEFT_OUT = frozenset({"tests", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that CODI keeps to. Sizes are bytes, times seconds."""

    max_terminals: int = 32
    max_file: int = 2 << 30
    exec_output: int = 1 << 20
    exec_timeout: float = 30.0
    excludes: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return them as CODI's command line options."""
        return [
            *("--max-terminals", str(self.max_terminals)),
            *("--max-file", str(self.max_file)),
            *("--exec-output", str(self.exec_output)),
            *("--exec-timeout", str(self.exec_timeout)),
            *("--excludes", "/".join(self.excludes)),  # names hold no slash
        ]


@dataclass(frozen=True, slots=True)
class Bundle:
    """CODI, packed and ready to be started.

    ``python_argv`` is the command, to which ``--listen-fd N --config-fd M`` are added. ``ro_binds``
    are paths that must be visible under the same name inside, beside ``/usr`` and ``/lib*``.
    It ``lasts``: killed, it is to be started again (``fdstore.py``), and its real user may be another.
    """

    python_argv: list[str]
    ro_binds: list[str]
    env: dict[str, str] = field(default_factory=dict)
    lasts: bool = True


def bundle(directory: Path, limits: Limits | None = None) -> Bundle:
    """Stage CODI below ``directory`` (made if missing) and say how to start it.

    Idempotent, and safe to call from several processes at once: a stage is named by its content
    and appears complete or not at all, so running containers keep the one they started with.
    Raises OSError when the directory cannot be written.
    """
    files = dict(_sources())
    root = directory.resolve() / f"codi-{_digest(files)}"
    if not root.is_dir():
        _stage(files, root)
    interpreter = _interpreter()
    return Bundle(
        python_argv=[
            *(str(interpreter), *_FLAGS, str(root / "codi.py")),
            *(limits or Limits()).arguments(),
        ],
        ro_binds=[*_interpreter_binds(interpreter), str(root)],
    )


def _interpreter() -> Path:
    """Return the real binary behind the running interpreter: a venv's is a link to it."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Path(base).resolve(strict=True)


def _interpreter_binds(interpreter: Path) -> list[str]:
    """Return what holds the interpreter and its standard library, unless it lies below ``/usr``."""
    paths = {Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve()}
    if not any(interpreter.is_relative_to(path) for path in paths):
        paths.add(interpreter)
    return sorted(str(path) for path in paths if not path.is_relative_to("/usr"))


def _sources() -> Iterator[tuple[str, Path]]:
    """Yield every file of the stage: its name there, and where it comes from."""
    package = Path(__file__).resolve().parent.parent
    yield "start.py", _IMAGE / "start.py"
    for name in _OWN_FILES:
        yield f"cluster/{name}", package / name
    yield from _tree(package / "codi" / "agent", "cluster/codi/agent")
    for library in _LIBRARIES:
        spec = importlib.util.find_spec(library)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(f"CODI needs the library {library}")
        origin = Path(spec.origin).resolve()
        if origin.name == "__init__.py":
            yield from _tree(origin.parent, library)
        else:
            yield origin.name, origin


def _tree(source: Path, target: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        if path.suffix in {".py", ".so", ".sh"} and not _LEFT_OUT.intersection(inner.parts):
            yield f"{target}/{inner.as_posix()}", path


def _digest(files: dict[str, Path]) -> str:
    begin = f"{sys.version}\0{_START}".encode()
    digest = hashlib.blake2b(begin + _PACK.read_bytes(), digest_size=10)
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _stage(files: dict[str, Path], root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".codi-", dir=root.parent))
    try:
        for name, path in files.items():
            target = draft / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (draft / "codi.py").write_text(_START, encoding="utf-8")
        # Unchecked: the stage never changes, so CODI need not look at the sources at all.
        compileall.compile_dir(
            draft,
            quiet=2,
            stripdir=str(draft),
            prependdir=str(root),
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        _pack(draft)
        _make_readable(draft)
        draft.rename(root)
    except OSError:
        if not root.is_dir():  # else another process was faster, with the same content
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _pack(draft: Path) -> None:
    """Put the modules into one file. Raises OSError when CODI cannot even be imported."""
    command = [str(_interpreter()), *_FLAGS, str(_PACK), str(draft)]
    try:
        subprocess.run(
            command, env={}, capture_output=True, text=True, timeout=_PACK_SECONDS, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(errno.ETIME, f"CODI was not packed within {_PACK_SECONDS:g} s") from error
    except subprocess.CalledProcessError as error:
        raise OSError(errno.EIO, f"CODI cannot be packed: {error.stderr[-500:]}") from error


def _make_readable(root: Path) -> None:
    """Let the container's user read it, whatever the umask of the server is."""
    for directory, _, names in os.walk(root):
        os.chmod(directory, 0o755)  # noqa: S103 - it holds no secret
        for name in names:
            os.chmod(os.path.join(directory, name), 0o644)
