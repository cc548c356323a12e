"""What a start costs: the bare interpreter, the hot commands' imports, the command line."""

import os
import sys

from benchmarks.timing import Variant, compare


def main(rounds: int = 15) -> None:
    """Time the imports of the hot commands against the bare interpreter."""
    environment = dict(os.environ)
    python = sys.executable
    compare(
        [
            Variant("python -c pass", [python, "-c", "pass"], environment),
            Variant("import wal.push", [python, "-c", "import walpy.__main__, walpy.wal.push"], environment),
            Variant("import wal.fetch", [python, "-c", "import walpy.__main__, walpy.wal.fetch"], environment),
            Variant("walpy --version", [python, "-m", "walpy", "--version"], environment),
        ],
        rounds,
    )
