"""Config: frozen settings, read once from flags, the environment and WAL-G's configuration file.

A value comes from the first of: command-line flag, environment (an empty variable counts as unset), file, built-in
default. On the path of wal-push: decoders of file types are imported when a file needs them.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from walpy.config_file import find_config_file, home_directory, is_readable_type, read_config_file
from walpy.errors import ConfigError, UsageError
from walpy.settings import (
    ALIASES,
    ENCRYPTION_KEYS,
    KNOWN,
    OPEN_PREFIXES,
    POSTGRES_KEYWORDS,
    STORAGE_ORDER,
    flag_of,
    is_secret,
    key_of_flag,
    known,
)
from walpy.values import TRUE_WORDS, parse_boolean, parse_decimal, parse_duration, parse_integer, parse_size

HIDDEN = "--HIDDEN--"  # as WAL-G prints a secret
PRIMARY_STORAGE = "default"  # WAL-G's name of it
ALL_STORAGES = "all"  # what `--target` takes beside their names
TARGET_KEY = "WALG_TARGET_STORAGE"
FAILOVER_KEY = "WALG_FAILOVER_STORAGES"
ENVIRONMENT = "environment"
DEFAULT = "default"

# Variables that libraries obey and no setting of ours stands for: proxies (in capitals or not), Amazon's endpoints.
PROXY = "a proxy"
ENDPOINT = "another endpoint"
LIBRARY_VARIABLES = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), PROXY),
    **dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_USE_FIPS_ENDPOINT"), ENDPOINT),
    **dict.fromkeys(("AWS_USE_DUALSTACK_ENDPOINT", "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT"), ENDPOINT),
}

# What --turbo unsets: without them there is no rate limit, and a reader for each core.
TURBO = ("WALG_DISK_RATE_LIMIT", "WALG_NETWORK_RATE_LIMIT", "WALG_UPLOAD_DISK_CONCURRENCY")

logger = logging.getLogger(__name__)


class Setting(NamedTuple):
    """One value and where it came from: `--flag`, `environment`, a file's path, `default` or `program`."""

    value: str
    origin: str

    def __repr__(self) -> str:
        return f"Setting(origin={self.origin!r})"  # the value may be a secret


class Config:
    """All settings of one command; picklable, so that workers can open their own Archive from it. Nobody changes one.

    settings holds what somebody set; config_path is the file that was read (empty: none); left_to_libraries: what else
    the environment asks for, values of LIBRARY_VARIABLES.
    """

    def __init__(
        self,
        settings: Mapping[str, Setting] | None = None,
        config_path: str = "",
        left_to_libraries: frozenset[str] = frozenset(),
    ) -> None:
        self.settings: Mapping[str, Setting] = settings or {}
        self.config_path = config_path
        self.left_to_libraries = left_to_libraries

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> "Config":
        """A Config with these values alone (and the defaults), for tests and programs."""
        return cls({key: Setting(value, "program") for key, value in values.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{key}={self.shown(key)!r}' for key in sorted(self.settings))})"

    def text(self, key: str, default: str = "") -> str:
        """Value as text: what was set, else the built-in default, else the given default."""
        setting = self.settings.get(key)
        if setting and setting.value:
            return setting.value
        entry = known(key)
        return (entry.default if entry else "") or default

    def is_set(self, key: str) -> bool:
        """Whether somebody set it (a built-in default does not count)."""
        setting = self.settings.get(key)
        return bool(setting and setting.value)

    def origin(self, key: str) -> str:
        """Where the value came from, for messages."""
        setting = self.settings.get(key)
        return setting.origin if setting else DEFAULT

    def shown(self, key: str) -> str:
        """Value for people and logs: a secret is masked."""
        value = self.text(key)
        return HIDDEN if value and is_secret(key) else value

    def integer(self, key: str, *, minimum: int | None = None) -> int:
        """Value as an integer, in the spelling that WAL-G allows for this key; 0 when unset and without a default.

        Raises ConfigError for anything else, and below minimum.
        """
        text = self.text(key)
        if not text:
            return 0
        entry = known(key)
        parse = parse_decimal if entry and entry.parse is parse_decimal else parse_integer
        try:
            number = parse(text)
        except ValueError as error:
            raise self.invalid(key, str(error)) from None
        if minimum is not None and number < minimum:
            expected = "positive" if minimum == 1 else f"at least {minimum}"
            raise ConfigError(f"{key} value is expected to be {expected} but is: {number} ({self.origin(key)})")
        return number

    def boolean(self, key: str) -> bool:
        """Value as a boolean; False when unset and without a default. Raises ConfigError for any other word."""
        text = self.text(key)
        try:
            return parse_boolean(text) if text else False
        except ValueError as error:
            raise self.invalid(key, str(error)) from None

    def seconds(self, key: str) -> float:
        """Value of a Go duration in seconds; 0.0 when unset and without a default. Raises ConfigError."""
        text = self.text(key)
        try:
            return parse_duration(text) if text else 0.0
        except ValueError as error:
            raise self.invalid(key, str(error)) from None

    def size(self, key: str) -> int:
        """Value in bytes (`1mb`); 0 when unset and without a default. Raises ConfigError."""
        text = self.text(key)
        try:
            return parse_size(text) if text else 0
        except ValueError as error:
            raise self.invalid(key, str(error)) from None

    def invalid(self, key: str, reason: str) -> ConfigError:
        """The error for a value that makes no sense: names key, value (unless secret) and origin."""
        return ConfigError(f"{key} has the wrong value {self.shown(key)!r} ({self.origin(key)}): {reason}")

    def storage_key(self, name: str) -> str:
        """The spelling of a storage setting that is in force: bare, `WALG_` or `WALE_`; the bare one when unset."""
        return next((key for alias in ALIASES if self.is_set(key := alias + name)), name)

    def storage_text(self, name: str, default: str = "") -> str:
        """A storage setting as text, by its bare name: see storage_key."""
        return self.text(self.storage_key(name), default)

    def storage_integer(self, name: str, *, minimum: int | None = None) -> int:
        """A storage setting as an integer: see storage_key and integer."""
        return self.integer(self.storage_key(name), minimum=minimum)

    def storage_boolean(self, name: str) -> bool:
        """A storage setting as a boolean: see storage_key and boolean."""
        return self.boolean(self.storage_key(name))

    def storage_kind(self) -> str:
        """Which storage is the primary: a name from STORAGE_ORDER. Raises ConfigError when none is configured."""
        kind = next((kind for kind in STORAGE_ORDER if self._prefix_of(kind)), "")
        if kind:
            return kind
        searched = self.config_path or f"no configuration file (searched: {home_directory() or '?'}/.walg.json, ...)"
        raise ConfigError(
            "Failed to find any configured storage",
            "Set WALG_FILE_PREFIX, WALG_S3_PREFIX, WALG_GS_PREFIX, WALG_AZ_PREFIX or WALG_SSH_PREFIX;"
            f" read: flags, environment, {searched}.",
        )

    def prefix(self) -> str:
        """URL (or directory) of the primary storage, as configured. Raises ConfigError when none is."""
        return self._prefix_of(self.storage_kind())

    def _prefix_of(self, kind: str) -> str:
        return self.text(f"WALG_{kind}_PREFIX") or self.text(f"WALE_{kind}_PREFIX")

    def storage_prefix(self) -> str:
        """The sub-folder to append to the storage's root; mostly empty."""
        return self.text("WALG_STORAGE_PREFIX")

    def postgres_parameters(self) -> dict[str, str]:
        """libpq's connection keywords from the PG* settings, so that those of a file or flag reach the driver.

        With a service chosen by the environment, the environment's own values are left to libpq, which ranks the
        service above them.
        """
        parameters = {"application_name": self.text("PGAPPNAME")}
        for key, keyword in POSTGRES_KEYWORDS.items():
            if self.is_set(key) and not (self.is_set("PGSERVICE") and self.origin(key) == ENVIRONMENT):
                parameters[keyword] = self.text(key)
        return parameters

    def with_settings(self, settings: Mapping[str, Setting]) -> "Config":
        """A copy with these settings instead: those that a command has flags of its own for."""
        return Config({**self.settings, **settings}, self.config_path, self.left_to_libraries)

    def storage_name(self) -> str:
        """WAL-G's name of the storage that the settings lead to: the primary's, unless another one was chosen."""
        name = self.text(TARGET_KEY, PRIMARY_STORAGE)
        return PRIMARY_STORAGE if name == ALL_STORAGES else name

    def encryption_settings(self) -> tuple[str, ...]:
        """The keys that ask for encryption and are set."""
        return tuple(key for key in ENCRYPTION_KEYS if self.is_set(key))

    def child_arguments(self) -> list[str]:
        """Arguments that give a child process (which inherits the environment) the same settings.

        No secret is among them: the child reads the file again, and child_environment carries the rest.
        """
        arguments = [f"--config={self.config_path}"] if self.config_path else []
        flags = [(key, item.value) for key, item in self.settings.items() if item.origin.startswith("--")]
        return arguments + [f"{flag_of(key)}={value}" for key, value in flags if not (value and _is_environments(key))]

    def child_environment(self) -> dict[str, str]:
        """What a child's environment needs beside the inherited one: secrets given as flags, and --target-storage."""
        return {
            key: item.value
            for key, item in self.settings.items()
            if item.value and item.origin.startswith("--") and _is_environments(key)
        }


def _is_environments(key: str) -> bool:
    """Whether a child must hear of a setting by its environment: a secret, or one without a flag of its name."""
    return is_secret(key) or key == TARGET_KEY


def split_setting_flags(argv: Sequence[str]) -> tuple[list[str], dict[str, str], str]:
    """Take `--config`, `--turbo` and the setting flags out of a command line, wherever they stand before `--`.

    Returns the other arguments in order, the flags as key → value (an empty value overrides as well: it unsets), and
    the path of `--config` (empty: not given). Raises UsageError when a flag lacks its value.
    """
    rest: list[str] = []
    flags: dict[str, str] = {}
    turbo: dict[str, str] = {}
    config_path = ""
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            rest.append(argument)
            break
        name, equals, value = argument.partition("=")
        key = key_of_flag(name) if name.startswith("--") else None
        if name == "--turbo":
            turbo = dict.fromkeys(TURBO, "") if not equals or value in TRUE_WORDS else {}
        elif key or name == "--config":
            text = value if equals else next(arguments, None)
            if text is None:
                raise UsageError(f"flag needs an argument: {name}")
            if key:
                flags[key] = text
            else:
                config_path = text
        else:
            rest.append(argument)
    rest.extend(arguments)
    return rest, {**turbo, **flags}, config_path


def load_config(flags: Mapping[str, str], environ: Mapping[str, str], config_path: str = "") -> Config:
    """Gather the settings of one command.

    flags: key → value, from split_setting_flags. environ: the process environment. config_path: the file of
    `--config`; else $WALG_CONFIG_PATH, else the first `~/.walg.*`. Raises ConfigError for a file that is missing though
    given, or broken: going on without it could store backups elsewhere, or in plain.
    """
    path = config_path or environ.get("WALG_CONFIG_PATH", "")
    if not path:
        path = find_config_file()
        if path and not is_readable_type(path):
            logger.warning("Failed to parse config file %s. Unsupported type.", path)
            path = ""
    settings: dict[str, Setting] = {}
    if path:
        stored = read_config_file(path, environ)
        _warn_unknown(stored, path)
        settings.update((key, Setting(value.rstrip("\r\n"), path)) for key, value in stored.items())
    for key, value in environ.items():
        if value and (key in KNOWN or key.startswith(OPEN_PREFIXES)):
            settings[key] = Setting(value.rstrip("\r\n"), ENVIRONMENT)
    for key, value in flags.items():
        settings[key] = Setting(value, flag_of(key))
    others = (LIBRARY_VARIABLES.get(key.upper()) for key, value in environ.items() if value)
    return Config(settings, path, frozenset(wish for wish in others if wish))


def load_separate(common: Config, path: str, environ: Mapping[str, str]) -> Config:
    """The settings of a file that names another archive, as copy takes them; common: those of the command.

    Where the archive is, and what WAL-G takes from the file alone, comes from the file; of common the rest that it does
    not set: how to reach a storage (under the bare names), and what is no storage setting. Raises as load_config.
    """
    stored = read_config_file(path, environ)
    _warn_unknown(stored, path)
    return separate_config(common, stored, path, path)


def separate_config(common: Config, stored: Mapping[str, str], origin: str, path: str) -> Config:
    """The settings of another archive: stored, which come from origin, and what load_separate takes from common.

    path: of the configuration file.
    """
    given = {_bare(key) for key in stored}
    settings = {
        key: setting
        for key, setting in common.settings.items()
        if not (key.startswith(("WALG_", "WALE_")) and key.endswith("_PREFIX"))
        and _bare(key) == key
        and key not in given
    }
    settings.update((key, Setting(value.rstrip("\r\n"), origin)) for key, value in stored.items())
    return Config(settings, path, common.left_to_libraries)


def _bare(key: str) -> str:
    """A storage setting's bare name; any other key as it is."""
    entry = known(key)
    return key[5:] if entry and entry.storage and key not in KNOWN else key


def _warn_unknown(stored: Mapping[str, str], path: str) -> None:
    unknown = [key for key in stored if known(key) is None]
    for key in unknown:
        logger.warning("%s is unknown", key)
    if unknown:
        logger.warning("check the spelling of these keys in %s: walpy does not know them", path)
