"""Serve: python -m benchmarks.sink DIRECTORY [PORT [FOLDER COUNT]]; prints the port.

Bodies go to files in the directory (a tmpfs: memory). FOLDER, COUNT: so many segments are listed there, see crowd.py.
"""

import sys
from pathlib import Path

from benchmarks.sink.crowd import Crowd
from benchmarks.sink.server import Sink
from benchmarks.sink.store import Store


def main() -> None:
    """Run until killed."""
    root, port, *crowd = sys.argv[1:] if len(sys.argv) > 2 else [sys.argv[1], "0"]
    store = Crowd(Path(root), crowd[0], int(crowd[1])) if crowd else Store(Path(root))
    sink = Sink(store, int(port))
    print(sink.port, flush=True)
    sink.serve()


if __name__ == "__main__":
    main()
