"""Names that are no UTF-8 leave the command line as the bytes that they are."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_name_is_printed_to_the_byte():
    script = "from coditect.cli.main import let_bytes_through as go; go(); print('\\udcff')"
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (answer.stdout, answer.stderr) == (b"\xff\n", b"")
