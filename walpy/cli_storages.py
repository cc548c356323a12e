"""Which storages a command looks in, by its settings; what several need is imported for those who have them."""

from collections.abc import Sequence

from walpy.archive import Archive, open_archive
from walpy.backup.catalog import BackupSelector, find_backup
from walpy.config import FAILOVER_KEY, Config


def archives_to_read(config: Config) -> list[Archive]:
    """An archive for each storage that is alive, or that is chosen. Raises ConfigError, StorageUnavailable."""
    if not config.is_set(FAILOVER_KEY):
        return [open_archive(config)]
    from walpy.backup import storages

    return storages.archives_to_read(config)


def archives_to_delete(config: Config) -> list[Archive]:
    """An archive for every storage. Raises ConfigError, and StorageUnavailable when one is dead."""
    if not config.is_set(FAILOVER_KEY):
        return [open_archive(config)]
    from walpy.backup import storages

    return storages.archives_to_delete(config)


def config_to_write(config: Config) -> Config:
    """The configuration of the storage that takes a backup. Raises ConfigError, StorageUnavailable."""
    if not config.is_set(FAILOVER_KEY):
        return config
    from walpy.backup import storages

    return storages.config_to_write(config)


def locate(config: Config, selector: BackupSelector) -> tuple[Config, BackupSelector]:
    """The configuration of the storage that holds a backup, and what selects it there.

    Without failover storages nobody has looked yet. Raises BackupError, StorageError.
    """
    if not config.is_set(FAILOVER_KEY):
        return config, selector
    from walpy.backup import storages

    found, name = storages.locate(config, selector)
    return found, BackupSelector(name)


def find_in(archives: Sequence[Archive], selector: BackupSelector) -> str:
    """Name of the backup that is meant, of the first archive which has it. Raises BackupError, StorageError."""
    if len(archives) == 1:
        return find_backup(archives[0], selector)
    from walpy.backup import storages

    return storages.locate_in(archives, selector)[1]
