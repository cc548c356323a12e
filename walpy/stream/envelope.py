"""Envelope OpenPGP: the key service's part. WALG_ENVELOPE_PGP_KEY[_PATH] is an OpenPGP key that Yandex KMS has wrapped.

What the key encrypts, the header of an object, and how long an unwrapped key is kept, is walpy.openpgp.envelope's.
"""

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final

from walpy.errors import ConfigError
from walpy.storage.retry import RetryPolicy
from walpy.stream.kms import ask
from walpy.stream.yandex_api import YandexApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from walpy.config import Config
    from walpy.stream.cipher import Cipher

KEY_ID: Final = "WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID"
KEY_FILE: Final = "WALG_ENVELOPE_PGP_YC_SERVICE_ACCOUNT_KEY_FILE"
OPENPGP_MODULE: Final = "walpy.openpgp.envelope"


def from_config(config: "Config") -> "Cipher":
    """The cipher that the settings name. Raises ConfigError; the service is not asked yet."""
    openpgp = import_module(OPENPGP_MODULE)
    if not config.is_set(KEY_ID):
        raise ConfigError(f"{KEY_ID} is not set", "It names the key of Yandex KMS that has wrapped the OpenPGP key.")
    cipher: Cipher = openpgp.from_config(config, unwrapper(config))
    return cipher


def unwrapper(config: "Config") -> "Callable[[bytes], bytes]":
    """What asks Yandex KMS to decrypt. It raises DataCorrupt, AccessDenied, ConfigError and WalpyError."""
    policy = RetryPolicy.from_config(config)
    api = YandexApi(config, policy, config.text(KEY_FILE), KEY_FILE)
    key_id = config.text(KEY_ID)

    def unwrap(wrapped: bytes) -> bytes:
        return ask(policy, partial(api.decrypt, key_id, wrapped), "decryption by Yandex KMS")

    return unwrap
