"""What backup-push was asked for: options and settings, all checked before anything else happens."""

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from walpy.backup.composers import COPY, DATABASE, RATING, REGULAR
from walpy.backup.delta_base import LATEST_FULL, DeltaChoice
from walpy.backup.gojson import free_value, parse
from walpy.backup.wait import wait_timeout
from walpy.errors import BackupError, ConfigError, UsageError

if TYPE_CHECKING:
    from walpy.config import Config

# The later one goes before the earlier ones, as in WAL-G.
COMPOSERS = {
    "WALG_USE_RATING_COMPOSER": RATING,
    "WALG_USE_DATABASE_COMPOSER": DATABASE,
    "WALG_USE_COPY_COMPOSER": COPY,
}
DELTA_BASES = ("WALG_DELTA_FROM_NAME", "WALG_DELTA_FROM_USER_DATA")
DELTA_ORIGINS = ("LATEST", LATEST_FULL)
MOST_STEPS = 1 << 31  # of a chain whose full backup is copied from, however long it is

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Options of the command line. user_data: JSON text to keep with the backup, empty for none."""

    permanent: bool = False
    full: bool = False
    verify: bool = False
    store_all_corrupt: bool = False
    without_files_metadata: bool = False
    user_data: str = ""


@dataclass(frozen=True, slots=True)
class PushSettings:
    """Checked settings. Sizes in bytes, times in seconds; a stop_timeout of 0 is none.

    workers: tars packed at the same time. threads: what reads and compresses in all of them together. composer: one
    of composers.
    """

    user_data: object
    tar_threshold: int
    workers: int
    threads: int
    alive_interval: float
    stop_timeout: float
    wal_timeout: float
    with_table_names: bool
    composer: str
    delta: DeltaChoice


def check_settings(config: "Config", options: PushOptions) -> PushSettings:
    """Read everything that backup-push needs. Raises ConfigError, UsageError or BackupError."""
    _check_combination(config, options)
    _say_what_is_different(config, options)
    workers, threads = _concurrency(config)
    config.integer("WALG_UPLOAD_QUEUE", minimum=1)  # parts are uploaded while they are packed: there is no queue
    return PushSettings(
        user_data=parse_user_data(options.user_data),
        tar_threshold=max(0, config.integer("WALG_TAR_SIZE_THRESHOLD")),
        workers=workers,
        threads=threads,
        alive_interval=config.seconds("WALG_ALIVE_CHECK_INTERVAL"),
        stop_timeout=config.seconds("WALG_STOP_BACKUP_TIMEOUT"),
        wal_timeout=wait_timeout(config),
        with_table_names=not config.boolean("WALG_DISABLE_PARTIAL_RESTORE"),
        composer=_composer(config),
        delta=_delta_choice(config, options),
    )


def _composer(config: "Config") -> str:
    return next((name for key, name in reversed(COMPOSERS.items()) if config.boolean(key)), REGULAR)


def _delta_choice(config: "Config", options: PushOptions) -> DeltaChoice:
    if _composer(config) == COPY:
        return DeltaChoice(max_steps=MOST_STEPS, origin=LATEST_FULL, copies=True)
    is_full = options.full or options.without_files_metadata
    return DeltaChoice(
        max_steps=0 if is_full else config.integer("WALG_DELTA_MAX_STEPS"),
        origin=config.text("WALG_DELTA_ORIGIN"),
        from_name=config.text("WALG_DELTA_FROM_NAME"),
        from_user_data=config.text("WALG_DELTA_FROM_USER_DATA"),
        permanent=options.permanent,
        ignores_mtime=config.boolean("WALPY_DELTA_IGNORE_MTIME"),
    )


def parse_user_data(text: str) -> object:
    """User data as JSON; None when text is empty. Raises BackupError when it is no JSON that WAL-G can read."""
    if not text:
        return None
    try:
        value = parse(text)
    except (ValueError, RecursionError) as error:
        raise BackupError(f"Failed to unmarshal the provided UserData: {text!r}: {error}") from None
    free_value(value)  # raises for what has no place in JSON: NaN, numbers beyond a float64
    return value


def _check_combination(config: "Config", options: PushOptions) -> None:
    if options.without_files_metadata:
        if any(map(config.is_set, DELTA_BASES)):
            raise UsageError(
                "without-files-metadata option cannot be used with delta-from-name, delta-from-user-data options"
            )
        if any(map(config.boolean, COMPOSERS)):
            raise UsageError("without-files-metadata option cannot be used with a composer other than the regular one")
    if all(map(config.is_set, DELTA_BASES)):
        raise UsageError("delta-from-name and delta-from-user-data options cannot be used together")
    if config.text("WALG_DELTA_ORIGIN", DELTA_ORIGINS[0]) not in DELTA_ORIGINS:
        raise ConfigError(f"Unknown WALG_DELTA_ORIGIN: {config.text('WALG_DELTA_ORIGIN')}")


def _say_what_is_different(config: "Config", options: PushOptions) -> None:
    is_told_base = any(map(config.is_set, DELTA_BASES))
    if is_told_base and config.integer("WALG_DELTA_MAX_STEPS") <= 0 and not options.full:
        logger.warning("A base for a delta backup is given, but WALG_DELTA_MAX_STEPS is 0: a full backup is taken")


def _concurrency(config: "Config") -> tuple[int, int]:
    """Workers, and threads of all of them: one thread each as far as the user says how many tars are read at once.

    Else two, so that no core waits while a worker's writing does, or while the last worker has the largest file.
    """
    cores = len(os.sched_getaffinity(0))
    key = "WALG_UPLOAD_DISK_CONCURRENCY"
    if not config.is_set(key):
        return cores, 2 * cores
    workers = config.integer(key, minimum=1)
    return workers, workers
