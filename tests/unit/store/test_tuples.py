"""The tuple layer leaves the interpreter as it was."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_tuple_layer_leaves_no_finder_that_others_stumble_over():
    code = (
        "import sys; from cluster.store import tuples;"
        "assert all(hasattr(finder, 'find_spec') for finder in sys.meta_path), sys.meta_path;"
        "assert tuples.unpack(tuples.pack(('a', 1))) == ('a', 1);"
        "assert 'fdb.impl' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
