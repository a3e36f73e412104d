"""The page counts cells as programs inside do: as the C library does for every code point."""

import importlib.util
import json
import platform
from pathlib import Path

FRONTEND = Path(__file__).parents[3] / "serve_app" / "frontend"


def load():
    spec = importlib.util.spec_from_file_location("widths", FRONTEND / "widths.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_table_is_the_c_librarys_for_every_code_point():
    kept = json.loads((FRONTEND / "src/workspace/terminals/emulator/widths.json").read_text())
    here = load()
    shown = [1] * 0x110000
    for name, width in (("none", 0), ("two", 2)):
        for first, last in kept[name]:
            shown[first : last + 1] = [width] * (last - first + 1)
    differing = [code for code, width in enumerate(here.widths()) if width != shown[code]]
    if platform.libc_ver() == ("glibc", kept["glibc"]):
        assert differing == []
    else:  # Unicode goes on: another release knows some characters more, and none of the old ones less
        assert len(differing) < 1000
        assert not [code for code in differing if code < 0x300]
