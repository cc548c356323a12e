"""Where objects are kept; open_storage() imports only the backend that the configuration names."""

from importlib import import_module
from typing import TYPE_CHECKING

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
