"""Run benchmarks by name: python -m benchmarks [startup] [wal] [memory]; all of them without a name."""

import sys

from benchmarks import memory, startup, wal

BENCHMARKS = {"startup": startup.main, "wal": wal.main, "memory": memory.main}


def main() -> None:
    """Run what the command line names."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"## {name}\n")
        BENCHMARKS[name]()
        print()


if __name__ == "__main__":
    main()
