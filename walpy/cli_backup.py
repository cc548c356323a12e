"""What the commands with worker processes do with their flags, whether cli_plain or cli has read them.

Flags are keywords, named as the options are (delta_from_name for --delta-from-name); those that are False or empty were
not given. What a job needs is imported when it runs, beside the process that workers come from.
"""

from collections.abc import Mapping

from walpy.cli_invocation import progress_for
from walpy.config import Config, Setting
from walpy.pipeline import start_ahead

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
    is_verified = config.boolean("WALG_VERIFY_PAGE_CHECKSUMS")
    looks_at_pages = is_verified or (config.integer("WALG_DELTA_MAX_STEPS") > 0 and not flags.get("full"))
    if data_directory:
        # While this process imports the database driver.
        start_ahead("walpy.backup.partition", *(["walpy.postgres.changes"] if looks_at_pages else []))
    from walpy.backup.push_settings import PushOptions
    from walpy.cli_storages import config_to_write

    options = PushOptions(
        permanent=bool(flags.get("permanent")),
        full=bool(flags.get("full")),
        verify=is_verified,
        store_all_corrupt=config.boolean("WALG_STORE_ALL_CORRUPT_BLOCKS"),
        without_files_metadata=config.boolean("WALG_WITHOUT_FILES_METADATA"),
        user_data=config.text("WALG_SENTINEL_USER_DATA"),
    )
    chosen = config_to_write(config)
    if data_directory:
        from walpy.backup.push import backup_push as push

        push(chosen, data_directory, options, progress_for(config), wal_config=config)
    else:
        from walpy.backup.remote_push import remote_backup_push

        remote_backup_push(chosen, options, progress_for(config), wal_config=config)


def backup_fetch(config: Config, destination: str, name: str, **flags: Flag) -> None:
    """Restore a backup, and tell how to go on.

    flags: of FETCH_SETTINGS, and mask, restore_spec, restore_only, resume.
    """
    start_ahead("walpy.backup.resume")  # while this process looks for the backup
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
    start_ahead("walpy.backup.partition", "walpy.postgres.changes")
    from walpy.backup.push import backup_push as push
    from walpy.backup.push_settings import PushOptions
    from walpy.postgres.lsn import Lsn

    options = PushOptions(full=True, user_data=config.text("WALG_SENTINEL_USER_DATA"))  # it continues no backup
    push(config, data_directory, options, progress_for(config), catchup_from=Lsn(position))


def catchup_fetch(config: Config, data_directory: str, name: str) -> None:
    """Bring a standby forward."""
    start_ahead("walpy.backup.extract")
    from walpy.catchup.fetch import catchup_fetch as fetch

    fetch(config, data_directory, name, progress_for(config))
