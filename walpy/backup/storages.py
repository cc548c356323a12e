"""Backups over several storages: which one a backup goes to, which ones hold one. For failover storages alone.

A backup lies in one storage as a whole: what makes or reads it gets a configuration that knows this one only, so that
all its processes use the same. Who is alive is checked right now: what a storage told a quarter of an hour ago must not
send a backup, or a restore, into one that has died since, again and again.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from walpy.archive import Archive, open_archive
from walpy.backup.catalog import BackupSelector, find_backup, list_backups
from walpy.config_failover import storage_configs, target_name
from walpy.errors import BackupError, StorageUnavailable
from walpy.storage.storages import Storages

if TYPE_CHECKING:
    from walpy.config import Config

logger = logging.getLogger(__name__)


def config_to_write(config: "Config") -> "Config":
    """The configuration of the storage that takes a backup: the first that is alive, or the chosen one.

    Raises ConfigError, StorageUnavailable.
    """
    name = target_name(config)
    if not name:
        storages = Storages(config, "rw")
        name = next(iter(storages.alive_now(storages.names)), "") or storages.first_alive()
    return storage_configs(config)[name]


def archives_to_read(config: "Config") -> list[Archive]:
    """An archive for each storage that is alive, or for the chosen one. Raises ConfigError, StorageUnavailable."""
    return _open(config, _names_to_read(config))


def archives_of_all(config: "Config") -> list[Archive]:
    """An archive for every storage, dead or alive, or for the chosen one. Raises ConfigError."""
    return _open(config, [name] if (name := target_name(config)) else list(storage_configs(config)))


def archives_to_delete(config: "Config") -> list[Archive]:
    """An archive for every storage. Raises StorageUnavailable when one is dead: nobody knows what it still needs."""
    storages = Storages(config, "rw")
    alive = storages.alive_now(storages.names)
    dead = [name for name in storages.names if name not in alive]
    if dead:
        raise StorageUnavailable(
            f"storage {', '.join(dead)} is dead, so nothing is deleted: its backups may need WAL of the others",
            "Make it reachable. If it is lost for good, take it out of the settings.",
        )
    return _open(config, storages.names)


def locate(config: "Config", selector: BackupSelector) -> "tuple[Config, str]":
    """The configuration of the storage that holds a backup, and the backup's name. Raises BackupError, StorageError.

    A name is that of the first storage which has it. LATEST is the newest of those that could be asked.
    """
    names = _names_to_read(config)
    archive, backup = locate_in(_open(config, names), selector, len(storage_configs(config)) - len(names))
    return archive.config, backup


def locate_in(archives: Sequence[Archive], selector: BackupSelector, unasked: int = 0) -> tuple[Archive, str]:
    """As locate, in open archives; unasked: how many others there are that could not be asked."""
    if selector.is_latest:
        newest = [max((backup.modified.ns for backup in list_backups(archive)), default=0) for archive in archives]
        archive = archives[newest.index(max(newest))]
        return archive, find_backup(archive, selector)
    failures: list[BackupError] = []
    for archive in archives:
        try:
            return archive, find_backup(archive, selector)
        except BackupError as error:
            failures.append(error)
    if unasked:
        raise BackupError(f"{failures[0]} (in the storages that are alive)", "A dead one may hold it.")
    raise failures[0]


def _names_to_read(config: "Config") -> tuple[str, ...]:
    target = target_name(config)
    if target:
        return (target,)
    storages = Storages(config, "ro")
    alive = tuple(storages.alive_now(storages.names))
    if not alive:
        raise StorageUnavailable("no alive storages", "The lines above tell why.")
    dead = [name for name in storages.names if name not in alive]
    if dead:
        logger.warning("what these storages hold is left out, they are dead: %s", ", ".join(dead))
    return alive


def _open(config: "Config", names: Sequence[str]) -> list[Archive]:
    configs = storage_configs(config)
    return [open_archive(configs[name]) for name in names]
