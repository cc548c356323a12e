"""One segment archived, from the start of the command to its exit."""

from benchmarks.bench import SHELL, Bench
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Command, Plan, Variant
from benchmarks.tools import barman, pgbackrest
from benchmarks.tools.daemon import CLIENT, Daemon
from benchmarks.tools.home import make_home, mark_ready
from benchmarks.tools.walg_like import AGENT_OFF, place, settings

ROUNDS = 15
SHELL_CODECS = {"lz4": "lz4 -1 -q -f", "zstd": "zstd -1 -q -f"}


def push_plan(bench: Bench, codec: str, storage: str) -> Plan:
    """The plain command of every program; storage: "file" or "s3"."""
    segment = bench.data.segment()
    size = segment.stat().st_size
    entries = [
        walg_like(bench, OWN, f"{OWN}, defaults", codec, storage, {}),
        walg_like(bench, OWN, f"{OWN}, agent off", codec, storage, AGENT_OFF, is_headline=False),
        walg_like(bench, "wal-g", "wal-g", codec, storage, {}),
        *((with_pgbackrest(bench, codec), with_shell(bench, codec)) if storage == "file" else (with_barman(bench),)),
    ]
    floor = bench.floor(codec, size, bench.data.segment())
    return Plan(entries, bench.rounds(ROUNDS), size / 1e9, floor=floor)


def walg_like(
    bench: Bench, program: str, label: str, codec: str, storage: str, more: dict[str, str], *, is_headline: bool = True
) -> Variant | Absent:
    """walpy or WAL-G, run in the data directory with %p as PostgreSQL gives it."""
    if program not in bench.programs:
        return bench.missing(program)
    segment = bench.data.segment().name
    name = f"{program}-{len(more)}"
    home = make_home(bench, name, [segment])
    where = place(bench, name, storage)
    environment = settings(bench, where, codec, {"PGDATA": str(home), **more})
    command = bench.command(program, "wal-push", f"pg_wal/{segment}", environment=environment, directory=home)

    def prepare() -> None:
        where.clear("wal_005")
        mark_ready(home, [])

    return Variant(program, label, lambda: void(run(command)), prepare, stored=where.stored, is_headline=is_headline)


def void(_: object) -> None:
    """An action has no result."""


def with_pgbackrest(bench: Bench, codec: str) -> Variant | Absent:
    """archive-push that stores before it answers."""
    if pgbackrest.NAME not in bench.programs:
        return bench.missing(pgbackrest.NAME)
    segment = bench.data.segment().name
    home = make_home(bench, "pgbackrest-home", [segment])
    repository = pgbackrest.repository(bench, "pgbackrest", home, codec)
    command = repository.command("archive-push", f"pg_wal/{segment}")
    label = f"{pgbackrest.NAME}, synchronous"
    return Variant(pgbackrest.NAME, label, lambda: void(run(command)), repository.forget_wal, stored=repository.stored)


def with_shell(bench: Bench, codec: str) -> Variant | Absent:
    """The codec's own command, and a flush of its file."""
    label = f"{codec} -1, sync"
    if codec not in bench.programs:
        return Absent(SHELL, label, f"{codec} is not on PATH")
    target = bench.folder("shell") / "segment"
    line = f"{SHELL_CODECS[codec]} {bench.data.segment()} -o {target} && sync {target} {target.parent}"
    if codec == "lz4":
        line = line.replace(" -o ", " ")
    command = Command(("sh", "-c", line), bench.environment, bench.work)
    return Variant(SHELL, label, lambda: void(run(command)), lambda: target.unlink(missing_ok=True))


def with_barman(bench: Bench) -> Variant | Absent:
    """barman-cloud-wal-archive without compression: this version has no lz4."""
    if barman.NAME not in bench.programs:
        return bench.missing(barman.NAME)
    segment = bench.data.segment()
    command = barman.command(bench, "wal-archive", [barman.url(), barman.SERVER, str(segment)])
    return Variant(barman.NAME, f"{barman.NAME}, none", lambda: void(run(command)), lambda: barman.clear(bench))


def daemon_push_plan(bench: Bench, codec: str) -> Plan:
    """The same through each program's daemon, asked by WAL-G's compiled client; walpy's agent beside them."""
    size = bench.data.segment().stat().st_size
    entries = [through_daemon(bench, program, codec) for program in (OWN, "wal-g")]
    entries.insert(1, walg_like(bench, OWN, f"{OWN}, agent", codec, "file", {}, is_headline=False))
    floor = bench.floor(codec, size, bench.data.segment())
    return Plan(entries, bench.rounds(ROUNDS), size / 1e9, floor=floor)


def through_daemon(bench: Bench, program: str, codec: str) -> Variant | Absent:
    """A daemon that is there already, and its client."""
    label = f"{program} daemon"
    lacking = lacks_daemon(bench, program, label)
    if lacking:
        return lacking
    segment = bench.data.segment().name
    home = make_home(bench, f"{program}-daemon", [segment])
    where = place(bench, f"{program}-daemon", "file")
    daemon = Daemon(bench, program, home, settings(bench, where, codec, {"PGDATA": str(home)}))

    def prepare() -> None:
        where.clear("wal_005")
        mark_ready(home, [])
        daemon.start()

    return Variant(
        program, label, lambda: daemon.ask("wal-push", segment), prepare, stored=where.stored, leave=daemon.stop
    )


def lacks_daemon(bench: Bench, program: str, label: str) -> Absent | None:
    """Why a program's daemon takes no part, if it does not."""
    for needed in (program, CLIENT):
        if needed not in bench.programs:
            return Absent(program, label, f"{needed} is not on PATH")
    if program == OWN and not bench.has_command("daemon"):
        return Absent(program, label, "this version has no daemon")
    return None
