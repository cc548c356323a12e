"""What the commands with worker processes do with their flags, whether cli_plain or cli has read them.

Flags are keywords, named as the options are (delta_from_name for --delta-from-name); those that are False or empty were
not given. What a job needs is imported when it runs, beside the process that workers come from.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from walpy import storage
from walpy.cli_invocation import progress_for
from walpy.config import Config, Setting
from walpy.pipeline import start_ahead
from walpy.stream import ciphers

if TYPE_CHECKING:
    from concurrent.futures import Future

    from walpy.backup.push_settings import PushOptions
    from walpy.postgres.server import Server

Flag = str | bool

# Flags that are settings for one run.
PUSH_SETTINGS = {
    "delta_from_name": "WALG_DELTA_FROM_NAME",
    "delta_from_user_data": "WALG_DELTA_FROM_USER_DATA",
    "rating_composer": "WALG_USE_RATING_COMPOSER",
    "database_composer": "WALG_USE_DATABASE_COMPOSER",
    "copy_composer": "WALG_USE_COPY_COMPOSER",
    "verify": "WALG_VERIFY_PAGE_CHECKSUMS",
    "store_all_corrupt": "WALG_STORE_ALL_CORRUPT_BLOCKS",
    "without_files_metadata": "WALG_WITHOUT_FILES_METADATA",
    "add_user_data": "WALG_SENTINEL_USER_DATA",
}
FETCH_SETTINGS = {
    "target_user_data": "WALG_FETCH_TARGET_USER_DATA",
    "reverse_unpack": "WALG_USE_REVERSE_UNPACK",
    "skip_redundant_tars": "WALG_SKIP_REDUNDANT_TARS",
}


def backup_push(config: Config, data_directory: str, **flags: Flag) -> None:
    """Take a backup; without a data directory, over the replication protocol.

    flags: of PUSH_SETTINGS, and full, permanent.
    """
    config = _with_flags(config, PUSH_SETTINGS, flags)
    if not data_directory:
        _remote_backup_push(config, flags)
        return
    is_verified = config.boolean("WALG_VERIFY_PAGE_CHECKSUMS")
    # While this process imports the database driver.
    _start_ahead(config, "walpy.backup.partition", *(["walpy.postgres.verifier"] if is_verified else []))
    with _connecting(config) as connecting:
        from walpy.backup.push import backup_push as push
        from walpy.cli_storages import config_to_write

        chosen, options = config_to_write(config), _push_options(config, flags)
        push(chosen, data_directory, options, progress_for(config), wal_config=config, connecting=connecting)


def _remote_backup_push(config: Config, flags: Mapping[str, Flag]) -> None:
    from walpy.backup.remote_push import remote_backup_push
    from walpy.cli_storages import config_to_write

    options = _push_options(config, flags)
    remote_backup_push(config_to_write(config), options, progress_for(config), wal_config=config)


def _push_options(config: Config, flags: Mapping[str, Flag]) -> "PushOptions":
    from walpy.backup.push_settings import PushOptions

    return PushOptions(
        permanent=bool(flags.get("permanent")),
        full=bool(flags.get("full")),
        verify=config.boolean("WALG_VERIFY_PAGE_CHECKSUMS"),
        store_all_corrupt=config.boolean("WALG_STORE_ALL_CORRUPT_BLOCKS"),
        without_files_metadata=config.boolean("WALG_WITHOUT_FILES_METADATA"),
        user_data=config.text("WALG_SENTINEL_USER_DATA"),
    )


def backup_fetch(config: Config, destination: str, name: str, **flags: Flag) -> None:
    """Restore a backup, and tell how to go on.

    flags: of FETCH_SETTINGS, and mask, restore_spec, restore_only, resume.
    """
    _start_ahead(config, "walpy.backup.resume")  # while this process looks for the backup
    from walpy.backup.catalog import BackupSelector
    from walpy.backup.fetch import FetchOptions
    from walpy.backup.fetch import backup_fetch as fetch
    from walpy.backup.next_steps import log_steps
    from walpy.cli_storages import locate

    config = _with_flags(config, FETCH_SETTINGS, flags)
    selector = BackupSelector(name, config.text("WALG_FETCH_TARGET_USER_DATA"))
    options = FetchOptions(
        mask=str(flags.get("mask", "")),
        restore_spec=str(flags.get("restore_spec", "")),
        reverse_unpack=config.boolean("WALG_USE_REVERSE_UNPACK"),
        skip_redundant_tars=config.boolean("WALG_SKIP_REDUNDANT_TARS"),
        restore_only=str(flags.get("restore_only", "")),
        resume=bool(flags.get("resume")),
    )
    holder, selector = locate(config, selector)
    summary = fetch(holder, destination, selector, options, progress_for(config), given=config)
    log_steps(summary.next_steps, summary.steps_when_running)


def _start_ahead(config: Config, *modules: str) -> None:
    """Start the process that workers come from; it imports what the storage and the cipher need, too."""
    start_ahead(*modules, *filter(None, (storage.module_of(config), ciphers.module_of(config))))


@contextmanager
def _connecting(config: Config) -> "Iterator[Future[Server]]":
    """Connect to the server that the settings lead to while this process imports and checks the rest.

    The connection is closed at the end, whether anybody used it or a check failed before; nobody waits for it.
    """
    from walpy.backup.meanwhile import meanwhile
    from walpy.postgres.server import connect

    connecting = meanwhile(partial(connect, config))
    try:
        yield connecting
    finally:
        connecting.add_done_callback(_close)


def _close(connected: "Future[Server]") -> None:
    if connected.exception() is None:
        connected.result().close()


def _with_flags(config: Config, settings: Mapping[str, str], flags: Mapping[str, Flag]) -> Config:
    """Settings replaced by the flags that were given."""
    given = {
        key: Setting("true" if flags[name] is True else str(flags[name]), f"--{name.replace('_', '-')}")
        for name, key in settings.items()
        if flags.get(name)
    }
    return config.with_settings(given)


def catchup_push(config: Config, data_directory: str, position: int) -> None:
    """Store what changed since a position."""
    _start_ahead(config, "walpy.backup.partition")
    with _connecting(config) as connecting:
        from walpy.backup.push import backup_push as push
        from walpy.backup.push_settings import PushOptions
        from walpy.postgres.lsn import Lsn

        options = PushOptions(full=True, user_data=config.text("WALG_SENTINEL_USER_DATA"))  # it continues no backup
        push(config, data_directory, options, progress_for(config), catchup_from=Lsn(position), connecting=connecting)


def catchup_fetch(config: Config, data_directory: str, name: str) -> None:
    """Bring a standby forward."""
    _start_ahead(config, "walpy.backup.extract")
    from walpy.catchup.fetch import catchup_fetch as fetch

    fetch(config, data_directory, name, progress_for(config))
