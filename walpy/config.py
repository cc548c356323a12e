"""Config: frozen settings, read once from the environment and WAL-G's configuration file."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from walpy.errors import ConfigError

STORAGE_ORDER = ("OSS", "S3", "FILE", "GS", "AZ", "SWIFT", "SSH")  # WAL-G's order of looking for the primary


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and where it came from: `--flag`, `environment`, a file's path or `default`."""

    value: str
    origin: str


@dataclass(frozen=True)
class Config:
    """All settings of one command; picklable, so that workers can open their own Archive from it."""

    settings: Mapping[str, Setting] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> "Config":
        """A Config with these values alone (and the defaults), for tests and programs."""
        return cls({key: Setting(value, "program") for key, value in values.items()})

    def text(self, key: str, default: str = "") -> str:
        """Value as text; empty when unset and without a default."""
        setting = self.settings.get(key)
        return setting.value if setting and setting.value else default

    def is_set(self, key: str) -> bool:
        """Whether somebody set it (a built-in default does not count)."""
        return bool(self.text(key))

    def origin(self, key: str) -> str:
        """Where the value came from, for messages."""
        setting = self.settings.get(key)
        return setting.origin if setting else "default"

    def storage_kind(self) -> str:
        """Which storage is the primary: a name from STORAGE_ORDER."""
        for kind in STORAGE_ORDER:
            if any(self.is_set(f"{prefix}_{kind}_PREFIX") for prefix in ("WALG", "WALE")):
                return kind
        raise ConfigError(
            "Failed to find any configured storage", "Set WALG_FILE_PREFIX, WALG_S3_PREFIX or WALG_GS_PREFIX."
        )
