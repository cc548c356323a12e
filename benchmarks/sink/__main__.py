"""Serve: python -m benchmarks.sink DIRECTORY [PORT]; prints the port. Bodies go to files there (a tmpfs: memory)."""

import sys
from pathlib import Path

from benchmarks.sink.server import Sink


def main() -> None:
    """Run until killed."""
    sink = Sink(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(sink.port, flush=True)
    sink.serve()


if __name__ == "__main__":
    main()
