"""Tests of the file that CODI's modules come out of."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cluster.codi.bundle import Bundle, bundle

LOADED = """
import sys
stage = sys.argv[1]
sys.path.insert(0, stage)
from start import Image
image = Image(stage)
sys.meta_path.insert(-1, image)
import cluster.codi.agent.main, cluster.codi.agent.routes, inspect
"""


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Bundle:
    return bundle(tmp_path_factory.mktemp("stage"))


def run(staged: Bundle, code: str, stage: Path | None = None) -> subprocess.CompletedProcess[str]:
    flags = staged.python_argv[: staged.python_argv.index("-X") + 2]
    root = stage or Path(staged.ro_binds[-1])
    command = [*flags, "-c", code, str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class TestImage:
    def test_everything_that_codi_imports_is_in_it(self, staged):
        code = (
            "for name, module in list(sys.modules.items()):\n"
            "    spec = module.__dict__.get('__spec__') if module else None\n"
            "    if spec and str(spec.origin).endswith('.py') and spec.loader is not image: print(name)\n"
        )
        found = run(staged, LOADED + code)
        before = {"__future__", "start", "encodings", "encodings.aliases", "encodings.utf_8"}
        assert (set(found.stdout.split()) - before, found.stderr) == (set(), "")

    def test_what_is_hardly_ever_used_is_loaded_when_it_is_used(self, staged):
        code = (
            "print('dis' in sys.modules, inspect.isfunction(image.find_spec), 'dis' in sys.modules)"
        )
        found = run(staged, LOADED + code)
        assert (found.stdout, found.stderr) == ("False False True\n", "")

    def test_a_start_does_without_what_takes_long_to_import(self, staged):
        found = run(
            staged, LOADED + "print({'pathlib', 'string', 'dis', 'random'} & sys.modules.keys())"
        )
        assert (found.stdout, found.stderr) == ("set()\n", "")

    def test_what_modules_write_by_themselves_is_not_compiled_again(self, staged):
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import start\n"
            "compiled = start.Image._compiled\n"
            "kinds = set()\n"
            "def noting(image, text):\n"
            "    kinds.add(type(compiled(image, text)).__name__)\n"
            "    return compiled(image, text)\n"
            "start.Image._compiled = noting\n"
        )
        found = run(staged, code + LOADED + "print(*kinds)")
        assert (found.stdout, found.stderr) == ("code\n", "")

    def test_libraries_that_look_at_signatures_are_imported(self, staged):
        found = run(staged, LOADED + "import pyfastcdc; print(pyfastcdc.FastCDC.__name__)")
        assert (found.stdout, found.stderr) == ("FastCDC\n", "")

    def test_regular_expressions_are_not_compiled_again(self, staged):
        parsing = "import re; re._parser.parse = None; import cluster.codi.agent.main"
        code = LOADED.replace("import cluster.codi.agent.main", parsing)
        found = run(staged, code)
        assert (found.returncode, found.stderr) == (0, "")

    def test_a_pattern_means_what_it_meant(self, staged):
        code = (
            "from h11._headers import _content_length_re as length; import re; print("
            "bool(length.fullmatch(b'17')), bool(length.fullmatch(b'x')), length.pattern, length.flags,"
            "re.sub('(?i)A(?P<n>b)', r'\\g<n>', 'xabx'))"
        )
        found = run(staged, LOADED + code)
        assert (found.stdout, found.stderr) == ("True False b'[0-9]+' 0 xbx\n", "")

    def test_what_a_library_logs_is_said(self, staged):
        code = (
            "import asyncio; first = 'string' in sys.modules; asyncio.log.logger.warning('said %d', 1)\n"
            "print(first, 'string' in sys.modules)"
        )
        found = run(staged, LOADED + code)
        assert (found.stdout, found.stderr) == ("False True\n", "said 1\n")

    def test_a_module_says_where_its_source_lies(self, staged):
        root = Path(staged.ro_binds[-1])
        found = run(staged, LOADED + "print(cluster.codi.agent.routes.__file__, inspect.__file__)")
        own, library = found.stdout.split()
        assert own == str(root / "cluster/codi/agent/routes.py")
        assert Path(library).is_file()

    @pytest.mark.parametrize("content", [None, b"", bytes(8)])
    def test_codi_starts_without_one_that_is_of_use(self, staged, tmp_path, content):
        moved = tmp_path / "moved"
        shutil.copytree(staged.ro_binds[-1], moved)
        image = moved / "modules.bin"
        image.unlink() if content is None else image.write_bytes(content)
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); sys.argv[1:] = []; "
            f"from start import start; start({str(moved)!r})"
        )
        said = run(staged, code, moved).stderr
        assert "is of no use" in said
        assert "usage: codi" in said  # it came as far as its own options

    def test_one_of_another_interpreter_is_refused(self, staged):
        code = "import sys; sys.version = 'another'\n" + LOADED
        assert "another interpreter has made it" in run(staged, code).stderr
