"""Many segments, as PostgreSQL drives them: a burst that waits to be archived, and a recovery."""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.bench import SHELL, Bench
from benchmarks.measure import CommandFailed
from benchmarks.model import OWN, Absent, Plan, Variant
from benchmarks.rows.wal_push import lacks_daemon
from benchmarks.tools import pgbackrest
from benchmarks.tools.daemon import Daemon, shell_words
from benchmarks.tools.home import RECOVERED, Reader, forget_prefetched, make_home, mark_ready
from benchmarks.tools.walg_like import AGENT_OFF, Place, place, settings

ROUNDS = 3
NO_SETTINGS: Mapping[str, str] = {}


def names_of(bench: Bench) -> list[str]:
    """The segments of a burst: consecutive, of all kinds."""
    return sorted(bench.data.kinds)[: bench.data.plan.burst]


def sh(line: str, home: Path, environment: Mapping[str, str]) -> None:
    """Run a command line as PostgreSQL does. Raises CommandFailed."""
    log = home.parent / f"{home.name}.err"
    with log.open("wb") as errors:
        status = subprocess.call(
            ["sh", "-c", line], cwd=home, env=dict(environment), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        )
    if status:
        raise CommandFailed(f"{line}: exit {status}\n{log.read_text()[-2000:]}")


def archive(line: str, home: Path, environment: Mapping[str, str]) -> None:
    """What the archiver does: oldest ready segment first, one command each, then its mark is renamed.

    line: archive_command with %f and %p.
    """
    status = home / "pg_wal" / "archive_status"
    while ready := sorted(name for name in os.listdir(status) if name.endswith(".ready")):
        name = ready[0].removesuffix(".ready")
        sh(line.replace("%f", name).replace("%p", f"pg_wal/{name}"), home, environment)
        (status / ready[0]).rename(status / f"{name}.done")


def recover(line: str, home: Path, environment: Mapping[str, str], checksums: Mapping[str, int]) -> None:
    """What a recovery does: one segment after the other into one name, each read and removed. Raises AssertionError.

    line: restore_command with %f and %p. checksums: of the segments, by name, oldest first.
    """
    target, reader = home / RECOVERED, Reader()
    for name, checksum in checksums.items():
        sh(line.replace("%f", name).replace("%p", RECOVERED), home, environment)
        assert reader.checksum(target) == checksum, f"{name} differs from its source"
        target.unlink()


def burst_plan(bench: Bench, codec: str, *, is_daemon: bool) -> Plan:
    """All segments ready at once; daemon: walpy's and WAL-G's, else the plain commands."""
    names = names_of(bench)
    if is_daemon:
        entries: list[Variant | Absent] = [daemon_burst(bench, program, codec, names) for program in (OWN, "wal-g")]
    else:
        entries = [
            walg_like_burst(bench, OWN, f"{OWN}, defaults", codec, names, {}),
            walg_like_burst(bench, OWN, f"{OWN}, agent off", codec, names, AGENT_OFF, is_headline=False),
            walg_like_burst(bench, "wal-g", "wal-g", codec, names, {}),
        ]
    entries += [pgbackrest_burst(bench, codec, names, is_async=True)]
    if not is_daemon:
        entries += [pgbackrest_burst(bench, codec, names, is_async=False), shell_burst(bench, codec, names)]
    size = sum((bench.data.wal / name).stat().st_size for name in names)
    floor = len(names) / bench.floor(codec, size, bench.data.sample_of(bench.data.wal))
    return Plan(entries, bench.rounds(ROUNDS), size / 1e9, len(names), floor)


def scene(
    bench: Bench, name: str, codec: str, names: list[str], more: Mapping[str, str] = NO_SETTINGS
) -> tuple[Path, Place, dict[str, str]]:
    """What a variant of walpy or WAL-G works with: data directory, archive, environment. more: settings."""
    home = make_home(bench, name, names)
    where = place(bench, name, "file")
    return home, where, settings(bench, where, codec, {"PGDATA": str(home), **more})


def walg_like_burst(
    bench: Bench,
    program: str,
    label: str,
    codec: str,
    names: list[str],
    more: Mapping[str, str],
    *,
    is_headline: bool = True,
) -> Variant | Absent:
    """The plain command of walpy or WAL-G."""
    if program not in bench.programs:
        return bench.missing(program)
    home, where, environment = scene(bench, f"{program}-{len(more)}", codec, names, more)
    line = f"{bench.programs[program]} wal-push %p"
    return Variant(
        program,
        label,
        lambda: archive(line, home, environment),
        lambda: start_anew(where, home, names),
        lambda: check_stored(where, names),
        where.stored,
        is_headline=is_headline,
    )


def start_anew(where: Place, home: Path, names: list[str]) -> None:
    """An empty archive, and all segments ready."""
    where.clear("wal_005")
    mark_ready(home, names)


def check_stored(where: Place, names: list[str]) -> None:
    """Whether all segments are there. Raises AssertionError."""
    stored = {path.name.partition(".")[0] for path in (where.folder / "wal_005").iterdir()}
    assert stored >= set(names), f"{len(set(names) - stored)} segments are missing"


def daemon_burst(bench: Bench, program: str, codec: str, names: list[str]) -> Variant | Absent:
    """A daemon started for this burst, and WAL-G's compiled client."""
    label = f"{program} daemon"
    lacking = lacks_daemon(bench, program, label)
    if lacking:
        return lacking
    home, where, environment = scene(bench, f"{program}-daemon", codec, names)
    daemon = Daemon(bench, program, home, environment)
    line = shell_words(daemon.words("wal-push", "%f"))

    def prepare() -> None:
        start_anew(where, home, names)
        daemon.start()

    def finish() -> None:
        daemon.stop()
        check_stored(where, names)

    return Variant(program, label, lambda: archive(line, home, environment), prepare, finish, where.stored, daemon.stop)


def pgbackrest_label(*, is_async: bool) -> str:
    """What its variants are called."""
    return f"{pgbackrest.NAME}, {'asynchronous' if is_async else 'synchronous'}"


def pgbackrest_scene(
    bench: Bench, codec: str, names: list[str], *, is_async: bool
) -> tuple[Path, pgbackrest.Repository]:
    """What a variant of it works with: data directory and repository."""
    name = f"pgbackrest-{'async' if is_async else 'sync'}"
    home = make_home(bench, f"{name}-home", names)
    return home, pgbackrest.repository(bench, name, home, codec, is_async=is_async)


def pgbackrest_burst(bench: Bench, codec: str, names: list[str], *, is_async: bool) -> Variant | Absent:
    """pgBackRest: its asynchronous process looks for ready segments itself."""
    label = pgbackrest_label(is_async=is_async)
    if pgbackrest.NAME not in bench.programs:
        return bench.missing(pgbackrest.NAME, label)
    home, repository = pgbackrest_scene(bench, codec, names, is_async=is_async)
    line = shell_words(repository.command("archive-push", "%p").arguments)

    def prepare() -> None:
        repository.forget_wal()
        mark_ready(home, names)

    def finish() -> None:
        assert repository.segments() == len(names), "segments are missing"

    action = partial(archive, line, home, bench.environment)
    return Variant(pgbackrest.NAME, label, action, prepare, finish, repository.stored)


def shell_burst(bench: Bench, codec: str, names: list[str]) -> Variant | Absent:
    """The codec's own command and a flush for each segment."""
    label = f"{codec} -1, sync"
    if codec not in bench.programs:
        return Absent(SHELL, label, f"{codec} is not on PATH")
    home = make_home(bench, "shell-home", names)
    folder = bench.folder("shell-storage")
    line = f"{codec} -1 -q -c %p > {folder}/%f && sync {folder}/%f {folder}"
    return Variant(SHELL, label, lambda: archive(line, home, bench.environment), lambda: mark_ready(home, names))


def recovery_plan(bench: Bench, codec: str, *, is_daemon: bool) -> Plan:
    """A recovery through as many segments."""
    names = names_of(bench)
    if is_daemon:
        entries: list[Variant | Absent] = [daemon_recovery(bench, program, codec, names) for program in (OWN, "wal-g")]
    else:
        entries = [
            walg_like_recovery(bench, OWN, f"{OWN}, defaults", codec, names, {}),
            walg_like_recovery(bench, OWN, f"{OWN}, agent off", codec, names, AGENT_OFF, is_headline=False),
            walg_like_recovery(bench, "wal-g", "wal-g", codec, names, {}),
            pgbackrest_recovery(bench, codec, names, is_async=False),
            pgbackrest_recovery(bench, codec, names, is_async=True),
        ]
    size = sum((bench.data.wal / name).stat().st_size for name in names)
    floor = len(names) / bench.decoding_floor(codec, size, bench.data.sample_of(bench.data.wal), is_written=False)
    return Plan(entries, bench.rounds(ROUNDS), size / 1e9, len(names), floor)


def fill(line: str, home: Path, environment: Mapping[str, str], names: list[str]) -> None:
    """Archive the segments that a recovery then fetches, and remove them from the data directory."""
    mark_ready(home, names)
    archive(line, home, environment)
    mark_ready(home, [])
    for name in names:
        (home / "pg_wal" / name).unlink()


def recovery_variant(
    bench: Bench, program: str, label: str, line: str, home: Path, environment: Mapping[str, str], names: list[str]
) -> Variant:
    """A recovery by a command line, what was fetched ahead forgotten before."""
    reader = Reader()
    checksums = {name: reader.checksum(bench.data.wal / name) for name in names}
    action: Callable[[], None] = partial(recover, line, home, environment, checksums)
    return Variant(program, label, action, lambda: forget_prefetched(home))


def walg_like_recovery(
    bench: Bench,
    program: str,
    label: str,
    codec: str,
    names: list[str],
    more: Mapping[str, str],
    *,
    is_headline: bool = True,
) -> Variant | Absent:
    """The plain command of walpy or WAL-G, which fetch ahead by default."""
    if program not in bench.programs:
        return bench.missing(program)
    home, _, environment = scene(bench, f"{program}-{len(more)}", codec, names, more)
    fill(f"{bench.programs[program]} wal-push %p", home, environment, names)
    line = f"{bench.programs[program]} wal-fetch %f %p"
    variant = recovery_variant(bench, program, label, line, home, environment, names)
    return variant if is_headline else replace(variant, is_headline=False)


def daemon_recovery(bench: Bench, program: str, codec: str, names: list[str]) -> Variant | Absent:
    """A daemon started for this recovery, and WAL-G's compiled client."""
    label = f"{program} daemon"
    lacking = lacks_daemon(bench, program, label)
    if lacking:
        return lacking
    home, _, environment = scene(bench, f"{program}-daemon", codec, names)
    daemon = Daemon(bench, program, home, environment)
    daemon.start()
    fill(shell_words(daemon.words("wal-push", "%f")), home, environment, names)
    daemon.stop()
    line = shell_words(daemon.words("wal-fetch", "%f", RECOVERED))

    def prepare() -> None:
        forget_prefetched(home)
        daemon.start()

    variant = recovery_variant(bench, program, label, line, home, environment, names)
    return replace(variant, prepare=prepare, finish=daemon.stop, leave=daemon.stop)


def pgbackrest_recovery(bench: Bench, codec: str, names: list[str], *, is_async: bool) -> Variant | Absent:
    """archive-get, with or without fetching ahead."""
    label = pgbackrest_label(is_async=is_async)
    if pgbackrest.NAME not in bench.programs:
        return bench.missing(pgbackrest.NAME, label)
    home, repository = pgbackrest_scene(bench, codec, names, is_async=is_async)
    fill(shell_words(repository.command("archive-push", "%p").arguments), home, bench.environment, names)
    line = shell_words(repository.command("archive-get", "%f", "%p").arguments)
    variant = recovery_variant(bench, pgbackrest.NAME, label, line, home, bench.environment, names)
    return replace(variant, prepare=repository.empty_spool)
