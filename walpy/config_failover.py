"""The storages of a configuration that names failover ones: each with a configuration of its own.

WALG_FAILOVER_STORAGES is a map, name → settings of a storage: nested in a configuration file, JSON anywhere else. As in
WAL-G names from a file are lower case, and an entry is completed by the common settings under their bare names; its
prefix, and what is common under `WALG_` and `WALE_` names, are not inherited.
"""

import json
from collections.abc import Mapping
from hashlib import md5

from walpy.config import ALL_STORAGES, FAILOVER_KEY, PRIMARY_STORAGE, TARGET_KEY, Config, Setting, separate_config
from walpy.config_file import as_text
from walpy.errors import ConfigError
from walpy.settings import STORAGE_ORDER, is_secret, known

STORAGE_PREFIX = "WALG_STORAGE_PREFIX"  # a folder below the root of every storage


def has_failover(config: Config) -> bool:
    """Whether there is a storage beside the primary one. Raises ConfigError."""
    return config.is_set(FAILOVER_KEY) and bool(_nested(config))


def storage_configs(config: Config) -> dict[str, Config]:
    """Every storage's configuration by its name: the primary first, then the failovers by the keys of their statuses.

    Each is complete: what opens an archive needs nothing else, and knows of no further storage. Raises ConfigError.
    """
    primary = Config(
        {key: setting for key, setting in config.settings.items() if key not in (FAILOVER_KEY, TARGET_KEY)},
        config.config_path,
        config.left_to_libraries,
    )
    failovers = {name: _failover(config, primary, name, nested) for name, nested in _nested(config).items()}
    order = sorted(failovers, key=lambda name: status_key(name, failovers[name]))
    return {PRIMARY_STORAGE: primary, **{name: failovers[name] for name in order}}


def target_name(config: Config, default: str = "") -> str:
    """The storage that `--target-storage` (or WALG_TARGET_STORAGE) names; default when none, or all, are meant.

    Raises ConfigError for a name that no storage has.
    """
    name = config.text(TARGET_KEY)
    if name in ("", ALL_STORAGES):
        return default
    check_name(config, name)
    return name


def check_name(config: Config, name: str) -> None:
    """Raise ConfigError, in WAL-G's words, when no storage has this name."""
    if name == PRIMARY_STORAGE:
        return
    names = [PRIMARY_STORAGE, *_nested(config)] if config.is_set(FAILOVER_KEY) else [PRIMARY_STORAGE]
    if name not in names:
        hint = f"There are: {', '.join(names)}." if len(names) > 1 else f"There is one storage: {PRIMARY_STORAGE}."
        raise ConfigError(f'unknown storage "{name}"', hint)


def status_key(name: str, config: Config) -> str:
    """What tells a storage from those of other configurations, where statuses are kept: `name#digest`, as WAL-G's.

    The digest is of the storage's settings, secrets left out; it is not the one of WAL-G, whose own entries stay.
    """
    described = sorted((key, item.value) for key, item in config.settings.items() if _describes_storage(key))
    return f"{name}#{md5(json.dumps(described).encode(), usedforsecurity=False).hexdigest()}"


def _describes_storage(key: str) -> bool:
    entry = known(key)
    return not is_secret(key) and (key.endswith("_PREFIX") or (entry is not None and entry.storage))


def _failover(config: Config, primary: Config, name: str, nested: Mapping[str, str]) -> Config:
    origin = f"{FAILOVER_KEY}.{name} in {config.origin(FAILOVER_KEY)}"
    found = separate_config(primary, nested, origin, config.config_path)
    own: dict[str, Setting] = {TARGET_KEY: Setting(name, origin)}
    if config.is_set(STORAGE_PREFIX):
        own[STORAGE_PREFIX] = config.settings[STORAGE_PREFIX]
    found = found.with_settings(own)
    if not any(found.is_set(f"{family}_{kind}_PREFIX") for kind in STORAGE_ORDER for family in ("WALG", "WALE")):
        raise ConfigError(
            f"failover storage {name!r} ({config.origin(FAILOVER_KEY)}) names no storage",
            "Give it a prefix of its own: WALG_S3_PREFIX, WALG_GS_PREFIX, WALG_AZ_PREFIX or WALG_FILE_PREFIX.",
        )
    return found


def _nested(config: Config) -> dict[str, dict[str, str]]:
    """Settings of each failover storage, as written. No message shows a value: keys may be among them."""
    origin = config.origin(FAILOVER_KEY)
    try:
        document = json.loads(config.text(FAILOVER_KEY) or "{}")
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
        raise ConfigError(
            f"{FAILOVER_KEY} ({origin}) is no map of storages and their settings",
            'For example {"second": {"WALG_FILE_PREFIX": "/mnt/second"}}; in a configuration file it is a nested map.',
        )
    is_from_file = origin == config.config_path
    found: dict[str, dict[str, str]] = {}
    for given, entry in document.items():
        name = given.lower() if is_from_file else given
        if name in (PRIMARY_STORAGE, ALL_STORAGES, ""):
            raise ConfigError(f"'{name}' storage name is reserved ({FAILOVER_KEY}, {origin})", "Choose another name.")
        if name in found:
            raise ConfigError(f"{FAILOVER_KEY} ({origin}) gives {name!r} twice, in upper and lower case")
        found[name] = {key.upper(): text for key, value in entry.items() if (text := as_text(value))}
    return found
