"""Where objects are kept; open_storage() imports only the backend that the configuration names."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from walpy.config import FAILOVER_KEY
from walpy.errors import ConfigError

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.storage.base import Storage

BACKENDS = {
    "FILE": "walpy.storage.fs",
    "S3": "walpy.storage.s3_direct",
    "GS": "walpy.storage.gcs",
    "AZ": "walpy.storage.azure",
    "SSH": "walpy.storage.ssh",
}
EXTRAS = {"AZ": "azure"}  # backends whose SDK is not installed with walpy, by the extra that brings it


def open_storage(config: "Config") -> "Storage":
    """Open the primary storage of a configuration. Raises ConfigError when none, or an unsupported one, is set."""
    kind = config.storage_kind()
    if kind not in BACKENDS:
        supported = ", ".join(f"WALG_{name}_PREFIX" for name in BACKENDS)
        raise ConfigError(
            f"storage {kind} (set by {config.origin(f'WALG_{kind}_PREFIX')}) is not supported",
            f"Use one of {supported}.",
        )
    storage: Storage = _backend(kind).from_config(config)
    return storage


def module_of(config: "Config") -> str:
    """The module that opens the primary storage of a configuration; empty: none is set, or none that is supported."""
    try:
        return BACKENDS.get(config.storage_kind(), "")
    except ConfigError:
        return ""


def _backend(kind: str) -> Any:
    """The backend's module. Raises ConfigError when the SDK that it needs is not installed."""
    try:
        return import_module(BACKENDS[kind])
    except ModuleNotFoundError as error:
        if kind not in EXTRAS or (error.name or "").startswith("walpy"):
            raise
        raise ConfigError(
            f"WALG_{kind}_PREFIX needs a library that is not installed: {error.name}",
            f"Install it with: pip install 'walpy-pg[{EXTRAS[kind]}]'.",
        ) from error


def open_wal_storage(config: "Config", *, is_writing: bool) -> "Storage":
    """Open what WAL is archived to (is_writing) or restored from: with failover storages all of them. As open_storage.

    Without them, which is told by one look at the settings, it is the primary storage.
    """
    if not config.is_set(FAILOVER_KEY):
        return open_storage(config)
    storage: Storage = import_module("walpy.storage.failover").open_failover(config, is_writing=is_writing)
    return storage
