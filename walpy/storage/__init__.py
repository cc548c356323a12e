"""Where objects are kept; open_storage() imports only the backend that the configuration names."""

from importlib import import_module
from typing import TYPE_CHECKING

from walpy.config import FAILOVER_KEY
from walpy.errors import ConfigError

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.storage.base import Storage

BACKENDS = {
    "FILE": "walpy.storage.fs",
    "S3": "walpy.storage.s3_direct",
    "GS": "walpy.storage.gcs",
    "SSH": "walpy.storage.ssh",
}


def open_storage(config: "Config") -> "Storage":
    """Open the primary storage of a configuration. Raises ConfigError when none, or an unsupported one, is set."""
    kind = config.storage_kind()
    if kind not in BACKENDS:
        supported = ", ".join(f"WALG_{name}_PREFIX" for name in BACKENDS)
        raise ConfigError(
            f"storage {kind} (set by {config.origin(f'WALG_{kind}_PREFIX')}) is not supported",
            f"Use one of {supported}.",
        )
    storage: Storage = import_module(BACKENDS[kind]).from_config(config)
    return storage


def open_wal_storage(config: "Config", *, is_writing: bool) -> "Storage":
    """Open what WAL is archived to (is_writing) or restored from: with failover storages all of them. As open_storage.

    Without them, which is told by one look at the settings, it is the primary storage.
    """
    if not config.is_set(FAILOVER_KEY):
        return open_storage(config)
    storage: Storage = import_module("walpy.storage.failover").open_failover(config, is_writing=is_writing)
    return storage
