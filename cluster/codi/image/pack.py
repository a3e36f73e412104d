"""Packs the modules that a stage of CODI imports into one file (see ``start.py``).

A program: ``pack.py DRAFT``, run by the interpreter that CODI gets, isolated like it. Imports what CODI does.
"""

from __future__ import annotations

import builtins
import importlib
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # what is imported before the recorder is there goes unrecorded
    from types import CodeType
    from typing import Any


class Recorder:
    """Stands in for ``exec`` and ``eval`` of a module, and keeps what they compiled by its text."""

    def __init__(self) -> None:
        self.generated: dict[str, bytes] = {}

    def exec(self, text: str, *scopes: Any) -> None:
        """Run statements."""
        builtins.exec(self._compiled(text, "exec"), *scopes)  # noqa: S102

    def eval(self, text: str, *scopes: Any) -> Any:
        """Evaluate an expression."""
        return builtins.eval(self._compiled(text, "eval"), *scopes)  # noqa: S307

    def _compiled(self, text: str, kind: str) -> CodeType:
        code: CodeType = compile(text, "<string>", kind, dont_inherit=True)
        self.generated[text] = marshal.dumps(code)
        return code


class Patterns:
    """Stands in for ``_sre`` in the compiler of regular expressions, and keeps what that asks it for."""

    def __init__(self, compiler: Any) -> None:
        self.made: dict[tuple[str | bytes, int], bytes] = {}
        self._compiler = compiler
        self._compile, self._sre = compiler.compile, vars(compiler)["_sre"]
        self._asked: tuple[Any, ...] = ()
        self._install(self._record, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sre, name)

    def compile(self, *asked: Any) -> Any:
        """Make a pattern."""
        self._asked = asked
        return self._sre.compile(*asked)

    def close(self) -> None:
        """Record no more."""
        self._install(self._compile, self._sre)

    def _install(self, compile_pattern: Any, sre: Any) -> None:
        vars(self._compiler).update(compile=compile_pattern, _sre=sre)

    def _record(self, pattern: Any, flags: int = 0) -> Any:
        made = self._compile(pattern, flags)
        if isinstance(pattern, (str, bytes)):
            text, combined, code, *rest = self._asked
            plain = (text, int(combined), [*map(int, code)], *rest)
            self.made[pattern, int(flags)] = marshal.dumps(plain)
        return made


def main(draft: str) -> None:
    """Write the file into the directory ``draft``."""
    sys.path.insert(0, draft)
    start: Any = importlib.import_module("start")
    recorder = Recorder()
    patterns = None
    for name in start.WRITERS:  # the first of them is what regular expressions stand on
        module: Any = importlib.import_module(name)
        module.exec, module.eval = recorder.exec, recorder.eval
        patterns = patterns or Patterns(importlib.import_module("re._compiler"))
    importlib.import_module("cluster.codi.agent.main")
    importlib.import_module("cluster.codi.agent.routes")
    assert patterns is not None
    patterns.close()
    for name in _agent_modules(draft):
        importlib.import_module(name)
    index, modules = {}, []
    offset = 0
    for name, module in sorted(sys.modules.items()):
        spec: Any = getattr(module, "__spec__", None)
        origin = str(getattr(spec, "origin", None))
        if spec is None or spec.name != name or not origin.endswith(".py"):
            continue  # built in, frozen, an extension, or another name for one of those
        code = marshal.dumps(spec.loader.get_code(name))
        place = os.path.relpath(origin, draft) if origin.startswith(f"{draft}/") else origin
        is_package = spec.submodule_search_locations is not None
        index[name] = (place, is_package, offset, len(code))
        modules.append(code)
        offset += len(code)
    head = marshal.dumps((sys.version, index, recorder.generated, patterns.made))
    with open(os.path.join(draft, start.NAME), "wb") as file:
        file.write(len(head).to_bytes(start.HEAD, "little") + head + b"".join(modules))


def _agent_modules(draft: str) -> list[str]:
    """Return the names of CODI's own modules, those too that it imports late."""
    found = []
    for directory, _, files in os.walk(os.path.join(draft, "cluster", "codi", "agent")):
        package = os.path.relpath(directory, draft).replace("/", ".")
        found += [f"{package}.{name[:-3]}" for name in files if name.endswith(".py")]
    return sorted(name.removesuffix(".__init__") for name in found)


if __name__ == "__main__":
    main(sys.argv[1])
