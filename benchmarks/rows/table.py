"""All rows in the order of the report, with their targets and the plans that measure them."""

from collections.abc import Callable
from functools import partial

from benchmarks.bench import Bench
from benchmarks.fresh import make_fresh
from benchmarks.model import Plan, Row, Target
from benchmarks.rows.backup import backup_plan
from benchmarks.rows.catalogue import list_plan, wal_plan
from benchmarks.rows.chain import chain_plan
from benchmarks.rows.cold import cold_backup_plan, cold_delta_plan
from benchmarks.rows.crowd import COMMANDS, crowd_plan
from benchmarks.rows.delta import delta_plan, summaries_plan
from benchmarks.rows.encrypted import encrypted_plan
from benchmarks.rows.million import COMMANDS as MILLION_COMMANDS
from benchmarks.rows.million import million_plan
from benchmarks.rows.restore import restore_plan
from benchmarks.rows.startup import startup_plan
from benchmarks.rows.wal_bulk import burst_plan, recovery_plan
from benchmarks.rows.wal_fetch import daemon_fetch_plan, fetch_plan, hit_plan
from benchmarks.rows.wal_push import daemon_push_plan, push_plan

PUSH = "one segment, data directory as PostgreSQL has it; every program flushes file and folder, the codec by `sync`"
FETCH = "one segment to RECOVERYXLOG, compared with its source; nobody flushes it; nothing is fetched ahead"
DAEMON = "as the row of the plain command; WAL-G's compiled client asks a daemon that runs already"
BURST = "all segments ready at once; `sh -c` each, oldest first, its mark renamed; as durable as in the single push"
RECOVERY = "`sh -c` each into one name, read, compared, removed; fetching ahead as each program does by default"
BACKUP = "running server, archive_mode=off, page cache warm, empty storage; a flush of the file system is timed too"
DELTA = "a row on so many of the accounts' pages updated since the program's own full backup; else as a backup"
COLD = "nothing of the server's data is in the page cache when a sample begins; else as the row before it"
CHAIN = "4 times a row on one of 20 of the accounts' pages was updated between its own backups; else as a restore"
ENCRYPTED = f"{BACKUP}; the same keys for everybody"
RESTORE = "its own backup into a directory that no run had before; a flush of the file system is timed too"
FRESH = (
    "its own backup into a new file system each time, whose flush is timed too: one that had files is many times slower"
)
SEGMENTS = "102,400 segments (quick: 10,240) without a gap, position of the server given; the answer is checked"
CROWD = (
    "2,000,000 segments and 10,000 full backups (quick: 100,000 and 1,000); delete: a dry run that would remove the "
    "older half; the answer is checked"
)
MILLION = (
    "1,000,000 files of 23 bytes (quick: 20,000), every hundredth changed before the delta backup; else as a backup"
)
LIST = "backups of sentinel and metadata alone; the number of listed backups is checked"

BACKUP_MEMORY, S3_BACKUP_MEMORY, BURST_MEMORY = 128.0, 200.0, 100.0  # MB

Planner = Callable[[Bench], Plan]


def wal_rows() -> list[tuple[Row, Planner]]:
    """One segment, bursts, recoveries."""
    return [
        (Row("push-file-lz4", "wal-push, file, lz4", PUSH, Target(0.70)), lambda b: push_plan(b, "lz4", "file")),
        (Row("push-file-zstd", "wal-push, file, zstd", PUSH, Target(0.55)), lambda b: push_plan(b, "zstd", "file")),
        (Row("push-s3-lz4", "wal-push, S3, lz4", PUSH, Target(0.55)), lambda b: push_plan(b, "lz4", "s3")),
        (Row("push-s3-zstd", "wal-push, S3, zstd", PUSH), lambda b: push_plan(b, "zstd", "s3")),
        (Row("push-daemon-lz4", "wal-push, daemon, lz4", DAEMON, Target(0.60)), lambda b: daemon_push_plan(b, "lz4")),
        (
            Row("push-daemon-zstd", "wal-push, daemon, zstd", DAEMON, Target(0.55)),
            lambda b: daemon_push_plan(b, "zstd"),
        ),
        (Row("fetch-file-lz4", "wal-fetch, file, lz4", FETCH, Target(0.85)), lambda b: fetch_plan(b, "lz4", "file")),
        (Row("fetch-file-zstd", "wal-fetch, file, zstd", FETCH, Target(0.95)), lambda b: fetch_plan(b, "zstd", "file")),
        (Row("fetch-s3-lz4", "wal-fetch, S3, lz4", FETCH), lambda b: fetch_plan(b, "lz4", "s3")),
        (
            Row("fetch-hit", "wal-fetch, prefetched", "the segment lies where each program keeps them", Target(1.0)),
            lambda b: hit_plan(b, "lz4"),
        ),
        (Row("fetch-daemon-lz4", "wal-fetch, daemon, lz4", DAEMON, Target(1.0)), lambda b: daemon_fetch_plan(b, "lz4")),
        (
            Row("fetch-daemon-zstd", "wal-fetch, daemon, zstd", DAEMON, Target(0.60)),
            lambda b: daemon_fetch_plan(b, "zstd"),
        ),
        (
            Row("burst-lz4", "burst, plain command, lz4", BURST, Target(1.2, BURST_MEMORY), "/s"),
            lambda b: burst_plan(b, "lz4", is_daemon=False),
        ),
        (
            Row("burst-daemon-lz4", "burst, daemon, lz4", BURST, Target(1.5, BURST_MEMORY), "/s"),
            lambda b: burst_plan(b, "lz4", is_daemon=True),
        ),
        (
            Row("burst-daemon-zstd", "burst, daemon, zstd", BURST, Target(1.8, BURST_MEMORY), "/s"),
            lambda b: burst_plan(b, "zstd", is_daemon=True),
        ),
        (
            Row("recovery-lz4", "recovery, plain command, lz4", RECOVERY, Target(1.5), "/s"),
            lambda b: recovery_plan(b, "lz4", is_daemon=False),
        ),
        (
            Row("recovery-daemon-lz4", "recovery, daemon, lz4", RECOVERY, Target(1.2), "/s"),
            lambda b: recovery_plan(b, "lz4", is_daemon=True),
        ),
    ]


def backup_row(codec: str, storage: str, ratio: float) -> tuple[Row, Planner]:
    """A backup of the big cluster."""
    memory = S3_BACKUP_MEMORY if storage == "s3" else BACKUP_MEMORY
    title = f"backup, {'S3' if storage == 's3' else 'file'}, {codec}"
    row = Row(f"backup-{storage}-{codec}", title, BACKUP, Target(ratio, memory))
    return row, lambda bench: backup_plan(bench, codec, storage, bench.data.big)


def encrypted_row(name: str, cipher: str, ratio: float) -> tuple[Row, Planner]:
    """An encrypted backup of the big cluster."""
    row = Row(f"encrypted-{name}", f"backup, file, lz4, {cipher}", ENCRYPTED, Target(ratio, BACKUP_MEMORY))
    return row, lambda bench: encrypted_plan(bench, "lz4", cipher)


def restore_row(codec: str, ratio: float) -> tuple[Row, Planner]:
    """A restore of the big cluster."""
    row = Row(f"restore-{codec}", f"restore and sync, {codec}", RESTORE, Target(ratio, BACKUP_MEMORY))
    return row, lambda bench: restore_plan(bench, codec, bench.data.big)


def backup_rows() -> list[tuple[Row, Planner]]:
    """Backups and restores."""
    return [
        backup_row("lz4", "file", 0.60),
        (
            Row("backup-cold", "backup, file, not cached, lz4", COLD, Target(0.60, BACKUP_MEMORY)),
            lambda b: cold_backup_plan(b, "lz4"),
        ),
        backup_row("zstd", "file", 0.50),
        backup_row("none", "file", 0.55),
        backup_row("brotli", "file", 0.60),
        backup_row("lz4", "s3", 0.60),
        backup_row("zstd", "s3", 0.50),
        encrypted_row("openpgp", "OpenPGP, AES-128", 0.60),
        encrypted_row("libsodium", "libsodium", 0.60),
        restore_row("lz4", 0.65),
        restore_row("zstd", 0.50),
        (
            Row("small-backup", "small files, backup, lz4", BACKUP, Target(0.60, BACKUP_MEMORY)),
            lambda b: backup_plan(b, "lz4", "file", b.data.small),
        ),
        (
            Row("small-restore", "small files, restore and sync, lz4", FRESH, Target(1.0, BACKUP_MEMORY)),
            lambda b: restore_plan(b, "lz4", b.data.small, room=make_fresh),
        ),
        (
            Row("delta-1", "delta backup, 1 % of pages changed, lz4", DELTA, Target(0.80, BACKUP_MEMORY)),
            lambda b: delta_plan(b, "lz4", 1),
        ),
        (
            Row("delta-cold", "delta backup, 1 % of pages changed, not cached, lz4", COLD, Target(0.80, BACKUP_MEMORY)),
            lambda b: cold_delta_plan(b, "lz4", 1),
        ),
        (
            Row("delta-10", "delta backup, 10 % of pages changed, lz4", DELTA, Target(0.80, BACKUP_MEMORY)),
            lambda b: delta_plan(b, "lz4", 10),
        ),
        (
            Row(
                "delta-summaries",
                "delta backup, 1 % of pages changed, WAL summaries, lz4",
                f"{DELTA}; PostgreSQL 17 or later, which tells walpy what changed",
                Target(0.50, BACKUP_MEMORY),
            ),
            lambda b: summaries_plan(b, "lz4", 1),
        ),
        (
            Row("chain", "restore and sync, full and four deltas, lz4", CHAIN, Target(1.0, BACKUP_MEMORY)),
            lambda b: chain_plan(b, "lz4"),
        ),
    ]


def catalogue_rows() -> list[tuple[Row, Planner]]:
    """Listings, and what a start costs."""
    return [
        (Row("list-few", "backup-list, few backups (1,000; quick: 100)", LIST, Target(1.2)), lambda b: list_plan(b, 0)),
        (
            Row("list-many", "backup-list, many backups (10,000; quick: 1,000)", LIST, Target(0.8)),
            lambda b: list_plan(b, 1),
        ),
        (
            Row("list-detail-s3", "backup-list --detail, many backups, S3", LIST, Target(0.5)),
            lambda b: list_plan(b, 1, is_detailed=True, storage="s3"),
        ),
        (Row("show-file", "wal-show, file", SEGMENTS, Target(0.8)), lambda b: wal_plan(b, "wal-show", "file")),
        (Row("verify-file", "wal-verify, file", SEGMENTS, Target(0.8)), lambda b: wal_plan(b, "wal-verify", "file")),
        (Row("show-s3", "wal-show, S3", SEGMENTS, Target(0.6)), lambda b: wal_plan(b, "wal-show", "s3")),
        (Row("verify-s3", "wal-verify, S3", SEGMENTS, Target(0.6)), lambda b: wal_plan(b, "wal-verify", "s3")),
        (Row("startup", "start without work", "exec to exit", Target()), startup_plan),
    ]


def crowd_rows() -> list[tuple[Row, Planner]]:
    """The largest catalogue; measured when asked for alone."""
    return [
        (
            Row(
                f"crowd-{command}-{storage}", f"{command}, millions of segments, {storage}", CROWD, Target(None, 200.0)
            ),
            partial(crowd_plan, command=command, storage=storage),
        )
        for storage in ("file", "s3")
        for command in COMMANDS
    ]


def million_rows() -> list[tuple[Row, Planner]]:
    """A million files; measured when asked for alone."""
    return [
        (
            Row(f"million-{command}", f"{command}, a million files, lz4", MILLION, Target(None, 256.0)),
            partial(million_plan, command=command, codec="lz4"),
        )
        for command in MILLION_COMMANDS
    ]


def all_rows() -> dict[str, tuple[Row, Planner]]:
    """Every row by its name."""
    ordinary = [*wal_rows(), *backup_rows(), *catalogue_rows()]
    return {row.name: (row, planner) for row, planner in [*ordinary, *crowd_rows(), *million_rows()]}


GROUPS = {
    "encrypted": ["encrypted-openpgp", "encrypted-libsodium"],
    "wal": [row.name for row, _ in wal_rows()],
    "crowd": [row.name for row, _ in crowd_rows()],
    "million": [row.name for row, _ in million_rows()],
    "memory": ["burst-lz4", "backup-file-lz4", "restore-lz4", "small-backup", "small-restore"],
}


def chosen(words: list[str]) -> list[str]:
    """Names of the rows that words name: a row, a group, or the beginning of names. Raises LookupError.

    No words: all rows but those of the groups crowd and million, whose files take longer to make than the others to
    measure.
    """
    names = list(all_rows())
    found: list[str] = []
    for word in words:
        named = [word] if word in names else GROUPS.get(word) or [name for name in names if name.startswith(word)]
        if not named:
            raise LookupError(f"no row {word!r}; there are {', '.join([*names, *GROUPS])}")
        found += named
    if words:
        return [name for name in names if name in found]
    return [name for name in names if name not in (*GROUPS["crowd"], *GROUPS["million"])]
