"""Fuzzes the readers of encrypted objects; see docs/fuzzing.md."""

import argparse
import hashlib
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.engine import Finding, Run, execute, fuzz
from tests.fuzz.targets import GROUPS, TARGETS


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    made.add_argument(
        "targets", nargs="+", choices=[*TARGETS, *GROUPS], metavar="TARGET", help=", ".join([*TARGETS, *GROUPS])
    )
    made.add_argument("--minutes", type=float, default=1.0, help="of all targets together (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of all chance (default: %(default)s)")
    made.add_argument("--engine", choices=("mutate", "atheris"), default="mutate")
    made.add_argument("--input", type=Path, help="run this file alone, as a finding left it")
    work = Path(tempfile.gettempdir()) / "walpy-fuzz"
    made.add_argument("--work", type=Path, default=work, help="findings, atheris's corpus (default: %(default)s)")
    return made


def named(words: Sequence[str]) -> list[str]:
    """Names of targets, each once."""
    return list(dict.fromkeys(name for word in words for name in GROUPS.get(word, [word])))


def guided(name: str, seconds: float, arguments: argparse.Namespace) -> int:
    """Run atheris in a process of its own, which it ends; the exit status."""
    code = (
        "import sys; from pathlib import Path; from tests.fuzz.guided import main; "
        "main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))"
    )
    words = [name, str(seconds), str(arguments.seed), str(arguments.work / "corpus" / name), str(arguments.work)]
    return subprocess.run([sys.executable, "-c", code, *words], check=False).returncode


def keep(finding: Finding, work: Path) -> str:
    """Write a finding's input to a file; what to tell."""
    name, data, problem = finding.args
    path = work / f"{name}-{hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]}"
    path.write_bytes(data)
    return f"{problem}\n{name}: found by {path} ({len(data)} bytes)"


def main() -> int:
    """Fuzz; 1 when something was found."""
    arguments = parser().parse_args()
    logging.disable(logging.WARNING)  # what a damaged key lacks
    arguments.work.mkdir(parents=True, exist_ok=True)
    names, status = named(arguments.targets), 0
    seconds = 60 * arguments.minutes / len(names)
    for name in names:
        if arguments.engine == "atheris":
            status |= guided(name, seconds, arguments)
            continue
        try:
            if arguments.input:
                run = Run(name)
                execute(TARGETS[name], arguments.input.read_bytes(), run)
            else:
                run = fuzz(TARGETS[name], seconds=seconds, seed=arguments.seed)
            print(run, flush=True)
        except Finding as finding:
            status = 1
            print(keep(finding, arguments.work), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
