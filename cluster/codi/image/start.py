"""CODI's first lines: its modules, and the standard library's, come out of one file, ``modules.bin``.

It stands in for the stage's own files: looking for two hundred of them, and compiling what ``dataclass``
and ``namedtuple`` write, and regular expressions, are a third of what CODI's start costs. Without it, or with
one that another interpreter has made, everything is imported as usual. ``pack.py`` makes it.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
else:  # what is imported here does not come out of the image
    ModuleSpec, ModuleType = type(__spec__), type(sys)

NAME = "modules.bin"
HEAD = 8
"""Bytes that hold the size of the index, which follows; behind it lies the code of the modules."""

WRITERS = ("collections", "dataclasses")
"""Modules that write source of their own and run it, with ``exec`` or ``eval``."""

_LATER = frozenset(
    (
        *("inspect", "logging", "tokenize", "textwrap", "ipaddress", "unicodedata", "locale"),
        "asyncio.sslproto",
    )
)
"""What others import and CODI hardly ever uses: loaded with the first use."""

_CO_COROUTINE = 0x80


class _Later(ModuleType):
    """A module that is loaded when it is asked for something that it does not have yet.

    ``importlib.util.LazyLoader`` loads with any look at it, and each import is one.
    """

    _lock = RLock()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # each import looks at some, which tell it nothing
            raise AttributeError(name)
        with _Later._lock:
            if self.__dict__.setdefault("__wanted__", 0) == 0:
                self.__wanted__ = 1
                self.__spec__.loader.run(self)  # type: ignore[union-attr]
                self.__class__ = ModuleType  # type: ignore[assignment]
        return object.__getattribute__(self, name)


class _SignatureLater:
    """``inspect.signature``: says nothing of a class, for ``dataclass``; the rest loads the real one."""

    def __init__(self, inspect: ModuleType) -> None:
        self._inspect = inspect

    def __call__(self, described: object, **how: object) -> object:
        if isinstance(described, type) and not how:
            return "()"
        self._inspect.__dict__.pop("signature", None)  # so that the look at it loads the module
        return self._inspect.signature(described, **how)


class _Logger:
    """A logger that loads ``logging`` when something is to be logged."""

    def __init__(self, name: str | None = None) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        import logging  # noqa: PLC0415 - not at the start

        real = logging.root  # which loads it, and so gives it its own ``getLogger``
        return getattr(logging.getLogger(self._name) if self._name else real, name)


def _is_coroutine_function(function: object) -> bool:
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return bool(flags & _CO_COROUTINE)


class Image:
    """Finds and loads modules (``importlib.abc``) of the file in the directory ``stage``.

    Raises OSError or ValueError when there is none for this interpreter.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._file = os.open(f"{stage}/{NAME}", os.O_RDONLY | os.O_CLOEXEC)
        size = int.from_bytes(os.pread(self._file, HEAD, 0), "little")
        self._begin = HEAD + size
        head = marshal.loads(os.pread(self._file, size, HEAD))  # noqa: S302 - the stage is the server's
        version, self._index, self._generated, self._patterns = head
        if version != sys.version:
            raise ValueError("another interpreter has made it")

    def find_spec(self, name: str, _path: object = None, _old: object = None) -> ModuleSpec | None:
        """Find a module; whatever is not in the file is for others to find."""
        found = self._index.get(name)
        if found is None:
            return None
        place, is_package, _, _ = found
        origin = os.path.join(self._stage, place)  # the library's places are absolute
        spec = ModuleSpec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(origin)]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the interpreter, as a rule."""
        if spec.name not in _LATER:
            return None
        module = _Later(spec.name)
        if spec.name == "inspect":  # of what is asked for at every start, until it is loaded
            module.__dict__["signature"] = _SignatureLater(module)
            module.__dict__["iscoroutinefunction"] = _is_coroutine_function
        elif spec.name == "logging":
            module.__dict__.update(getLogger=_Logger, DEBUG=10)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run a module, unless it is for later."""
        if not isinstance(module, _Later):
            self.run(module)

    def run(self, module: ModuleType) -> None:
        """Run the code of a module."""
        name = module.__name__
        if name in WRITERS:
            scope = module.__dict__
            scope["exec"] = lambda text, *scopes: exec(self._compiled(text), *scopes)  # noqa: S102
            scope["eval"] = lambda text, *scopes: eval(self._compiled(text), *scopes)  # noqa: S307
        _, _, offset, size = self._index[name]
        code = marshal.loads(os.pread(self._file, size, self._begin + offset))  # noqa: S302
        exec(code, module.__dict__)  # noqa: S102
        if name == "re._compiler":
            self._spare(module)

    def _spare(self, compiler: ModuleType) -> None:
        """Let patterns be made from what the compiler has made of them before."""
        compile_anew, make = compiler.compile, compiler.__dict__["_sre"].compile

        def compile_pattern(pattern: object, flags: int = 0) -> object:
            if isinstance(pattern, str | bytes):
                made = self._patterns.pop((pattern, flags), None)
                if made is not None:
                    return make(*marshal.loads(made))  # noqa: S302
            return compile_anew(pattern, flags)

        compiler.__dict__["compile"] = compile_pattern

    def _compiled(self, text: str) -> CodeType | str:
        found = self._generated.get(text)
        code: CodeType | str = text if found is None else marshal.loads(found)  # noqa: S302
        return code


def start(stage: str) -> None:
    """Run CODI from its stage, which is on the path."""
    gc.disable()  # nothing that is made now is garbage
    try:
        sys.meta_path.insert(-1, Image(stage))
    except (OSError, ValueError, EOFError):
        sys.stderr.write(f"codi: {stage}/{NAME} is of no use\n")
    from cluster.codi.agent.main import main  # noqa: PLC0415 - from the image

    main()
