"""Which cipher an archive has, by WAL-G's order of settings; the module and library of a cipher are imported on use."""

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from walpy.errors import ConfigError

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.stream.cipher import Cipher


class Door(NamedTuple):
    """One kind of cipher. settings: any of them asks for it. module: its from_config(config) makes the cipher."""

    name: str
    settings: tuple[str, ...]
    module: str


PGP = Door(
    "OpenPGP",
    ("WALG_PGP_KEY", "WALG_PGP_KEY_PATH", "WALG_GPG_KEY_PATH", "WALG_GPG_KEY_ID", "WALE_GPG_KEY_ID", "GPG_KEY_ID"),
    "walpy.openpgp.cipher",
)
ENVELOPE = Door(
    "envelope OpenPGP",
    ("WALG_ENVELOPE_PGP_KEY", "WALG_ENVELOPE_PGP_KEY_PATH"),
    "walpy.stream.envelope",
)
# In WAL-G's order: the first that is set is taken.
DOORS = (
    PGP,
    ENVELOPE,
    Door("AWS KMS", ("WALG_CSE_KMS_ID",), "walpy.stream.aws_kms"),
    Door("Yandex KMS", ("YC_CSE_KMS_KEY_ID",), "walpy.stream.yandex_kms"),
    Door("libsodium", ("WALG_LIBSODIUM_KEY", "WALG_LIBSODIUM_KEY_PATH"), "walpy.stream.sodium"),
)


def open_cipher(config: "Config") -> "Cipher | None":
    """The cipher of an archive; None when no setting asks for one.

    Raises ConfigError for keys that are none, and for settings that exclude each other.
    """
    chosen = _chosen(config)
    if not chosen:
        return None
    if PGP in chosen and ENVELOPE in chosen:
        raise ConfigError(
            f"both {_set(config, PGP)} and {_set(config, ENVELOPE)} are set",
            "Unset one: an archive is encrypted with OpenPGP keys or with enveloped ones.",
        )
    cipher: Cipher = import_module(chosen[0].module).from_config(config)
    return cipher


def module_of(config: "Config") -> str:
    """The module that opens the cipher of an archive; empty: no setting asks for one."""
    return next((door.module for door in _chosen(config)), "")


def _chosen(config: "Config") -> list[Door]:
    return [door for door in DOORS if any(config.is_set(key) for key in door.settings)]


def _set(config: "Config", door: Door) -> str:
    return ", ".join(key for key in door.settings if config.is_set(key))
