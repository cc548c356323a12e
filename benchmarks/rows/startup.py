"""What a start costs before any work: whole processes, exec to exit."""

import sys

from benchmarks.bench import SHELL, Bench
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Command, Plan, Variant
from benchmarks.rows.wal_push import void

ROUNDS = 15
PEERS = {
    "wal-g": ["--version"],
    "walg-daemon-client": ["--version"],
    "pgbackrest": ["version"],
    "barman-cloud-backup": ["--version"],
}
OWN_IMPORTS = {
    "import wal.push": "import walpy.__main__, walpy.wal.push",
    "import wal.fetch": "import walpy.__main__, walpy.wal.fetch",
    "walpy --version": "",
}


def startup_plan(bench: Bench) -> Plan:
    """The bare interpreter, the hot commands' imports, and every peer's --version."""
    python = sys.executable
    entries: list[Variant | Absent] = [
        starter(bench, OWN, "python -S -E -I, nothing", [python, "-S", "-E", "-I", "-c", "pass"]),
        starter(bench, OWN, "python, nothing", [python, "-c", "pass"]),
    ]
    for label, code in OWN_IMPORTS.items():
        command = [python, "-c", code] if code else [bench.programs[OWN], "--version"]
        entries.append(starter(bench, OWN, label, command))
    for name, arguments in PEERS.items():
        is_here = name in bench.programs
        entries.append(
            starter(bench, name, name, [bench.programs[name], *arguments]) if is_here else bench.missing(name)
        )
    entries.append(starter(bench, SHELL, "/bin/true", ["/bin/true"]))
    return Plan(entries, bench.rounds(ROUNDS), 0.0)


def starter(bench: Bench, program: str, label: str, words: list[str]) -> Variant:
    """One process; none stands for its program, as they do different things."""
    command = Command(tuple(words), bench.environment, bench.work)
    return Variant(program, label, lambda: void(run(command)), is_headline=False)
