"""One segment restored, from the start of the command to its exit; what comes is compared with the source."""

import shutil
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import SHELL, Bench
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Command, Plan, Variant
from benchmarks.rows.wal_push import ROUNDS, SHELL_CODECS, lacks_daemon, void
from benchmarks.tools import barman, pgbackrest
from benchmarks.tools.daemon import Daemon
from benchmarks.tools.home import RECOVERED, forget_prefetched, make_home
from benchmarks.tools.walg_like import AGENT_OFF, NO_PREFETCH, place, settings


def fetch_plan(bench: Bench, codec: str, storage: str) -> Plan:
    """The plain command of every program, nothing prefetched; storage: "file" or "s3"."""
    entries = [
        walg_like(bench, OWN, f"{OWN}, defaults", codec, {}, storage),
        walg_like(bench, OWN, f"{OWN}, agent off", codec, AGENT_OFF, storage, is_headline=False),
        walg_like(bench, "wal-g", "wal-g", codec, {}, storage),
        *((with_pgbackrest(bench, codec), with_shell(bench, codec)) if storage == "file" else (with_barman(bench),)),
    ]
    return plan_of(bench, codec, entries)


def plan_of(bench: Bench, codec: str, entries: list[Variant | Absent]) -> Plan:
    """A plan for one segment; nobody flushes a fetched one, so the floor is the decoder's alone."""
    size = bench.data.segment().stat().st_size
    floor = bench.decoding_floor(codec, size, bench.data.segment(), is_written=False)
    return Plan(entries, bench.rounds(ROUNDS), size / 1e9, floor=floor)


def walg_like(
    bench: Bench,
    program: str,
    label: str,
    codec: str,
    more: dict[str, str],
    storage: str = "file",
    *,
    is_headline: bool = True,
) -> Variant | Absent:
    """walpy or WAL-G, told not to fetch ahead."""
    if program not in bench.programs:
        return bench.missing(program)
    segment = bench.data.segment()
    name = f"{program}-{len(more)}"
    home = make_home(bench, name, [segment.name])
    where = place(bench, name, storage)
    environment = settings(bench, where, codec, {"PGDATA": str(home), **NO_PREFETCH, **more})
    push = bench.command(program, "wal-push", f"pg_wal/{segment.name}", environment=environment, directory=home)
    run(push)
    (home / "pg_wal" / segment.name).unlink()
    fetch = bench.command(program, "wal-fetch", segment.name, RECOVERED, environment=environment, directory=home)

    def prepare() -> None:
        forget_prefetched(home)

    return Variant(
        program, label, lambda: void(run(fetch)), prepare, lambda: check(home, segment), is_headline=is_headline
    )


def check(home: Path, segment: Path) -> None:
    """Compare what was fetched, and remove it. Raises AssertionError."""
    fetched = home / RECOVERED
    assert fetched.read_bytes() == segment.read_bytes(), f"{fetched} differs from its source"
    fetched.unlink()


def with_pgbackrest(bench: Bench, codec: str) -> Variant | Absent:
    """archive-get from the repository."""
    if pgbackrest.NAME not in bench.programs:
        return bench.missing(pgbackrest.NAME)
    segment = bench.data.segment()
    home = make_home(bench, "pgbackrest-home", [segment.name])
    repository = pgbackrest.repository(bench, "pgbackrest", home, codec)
    run(repository.command("archive-push", f"pg_wal/{segment.name}"))
    fetch = repository.command("archive-get", segment.name, RECOVERED)
    return Variant(pgbackrest.NAME, pgbackrest.NAME, lambda: void(run(fetch)), finish=lambda: check(home, segment))


def with_shell(bench: Bench, codec: str) -> Variant | Absent:
    """The codec's own command."""
    label = f"{codec} -d"
    if codec not in bench.programs:
        return Absent(SHELL, label, f"{codec} is not on PATH")
    home = make_home(bench, "shell-home")
    stored = home / "stored"
    line = f"{SHELL_CODECS[codec]} -c {bench.data.segment()} > {stored}"
    run(Command(("sh", "-c", line), bench.environment, home))
    fetch = Command(("sh", "-c", f"{codec} -d -q -c {stored} > {RECOVERED}"), bench.environment, home)
    return Variant(SHELL, label, lambda: void(run(fetch)), finish=lambda: check(home, bench.data.segment()))


def with_barman(bench: Bench) -> Variant | Absent:
    """barman-cloud-wal-restore of an uncompressed segment."""
    if barman.NAME not in bench.programs:
        return bench.missing(barman.NAME)
    segment = bench.data.segment()
    home = make_home(bench, "barman-home")
    barman.clear(bench)
    run(barman.command(bench, "wal-archive", [barman.url(), barman.SERVER, str(segment)]))
    fetch = barman.command(bench, "wal-restore", [barman.url(), barman.SERVER, segment.name, str(home / RECOVERED)])
    label = f"{barman.NAME}, none"
    return Variant(barman.NAME, label, lambda: void(run(fetch)), finish=lambda: check(home, segment))


def hit_plan(bench: Bench, codec: str) -> Plan:
    """A segment that has been fetched ahead already; what each program then starts for the next ones is left to it."""
    entries = [hit(bench, OWN, codec), hit(bench, "wal-g", codec), spooled(bench, codec)]
    return Plan(entries, bench.rounds(ROUNDS), bench.data.segment().stat().st_size / 1e9)


def hit(bench: Bench, program: str, codec: str) -> Variant | Absent:
    """walpy or WAL-G, which keep what they fetched ahead at the same place."""
    entry = walg_like(bench, program, program, codec, {})
    if isinstance(entry, Absent):
        return entry
    home = bench.work / f"{program}-0"
    folder = home / "pg_wal" / ".wal-g" / "prefetch"
    return replace(entry, prepare=lambda: put_ahead(folder, bench.data.segment()))


def put_ahead(folder: Path, segment: Path) -> None:
    """Make a folder hold a segment as if it had been fetched."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(segment, folder / segment.name)


def spooled(bench: Bench, codec: str) -> Variant | Absent:
    """pgBackRest's asynchronous archive-get with the segment in its spool."""
    if pgbackrest.NAME not in bench.programs:
        return bench.missing(pgbackrest.NAME)
    segment = bench.data.segment()
    home = make_home(bench, "pgbackrest-home", [segment.name])
    repository = pgbackrest.repository(bench, "pgbackrest", home, codec, is_async=True)
    fetch = repository.command("archive-get", segment.name, RECOVERED)
    spool = repository.spool / "archive" / pgbackrest.STANZA / "in"
    return Variant(
        pgbackrest.NAME,
        f"{pgbackrest.NAME}, asynchronous",
        lambda: void(run(fetch)),
        lambda: put_ahead(spool, segment),
        lambda: check(home, segment),
    )


def daemon_fetch_plan(bench: Bench, codec: str) -> Plan:
    """Through each program's daemon, asked by WAL-G's compiled client; walpy's agent beside them."""
    entries = [through_daemon(bench, program, codec) for program in (OWN, "wal-g")]
    entries.insert(1, walg_like(bench, OWN, f"{OWN}, agent", codec, {}, is_headline=False))
    return plan_of(bench, codec, entries)


def through_daemon(bench: Bench, program: str, codec: str) -> Variant | Absent:
    """A daemon that is there already, and its client."""
    label = f"{program} daemon"
    lacking = lacks_daemon(bench, program, label)
    if lacking:
        return lacking
    segment = bench.data.segment()
    home = make_home(bench, f"{program}-daemon", [segment.name])
    where = place(bench, f"{program}-daemon", "file")
    environment = settings(bench, where, codec, {"PGDATA": str(home), **NO_PREFETCH})
    daemon = Daemon(bench, program, home, environment)
    daemon.start()
    daemon.ask("wal-push", segment.name)
    (home / "pg_wal" / segment.name).unlink()

    def prepare() -> None:
        forget_prefetched(home)
        daemon.start()

    return Variant(
        program,
        label,
        lambda: daemon.ask("wal-fetch", segment.name, RECOVERED),
        prepare,
        lambda: check(home, segment),
        leave=daemon.stop,
    )
