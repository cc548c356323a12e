"""Yandex KMS: YC_CSE_KMS_KEY_ID, YC_SERVICE_ACCOUNT_KEY_FILE. An object is a header with the wrapped data key, then a
DARE stream (AES-256-GCM alone, in WAL-G's reader).

Header: `yckms`, version 1, LE32 size (at most 4096), the wrapped key. No additional data.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

from walpy.errors import ConfigError, DataCorrupt
from walpy.storage.retry import RetryPolicy
from walpy.stream.identify import YANDEX_MAGIC
from walpy.stream.kms import KmsCipher, ask
from walpy.stream.yandex_api import YandexApi

if TYPE_CHECKING:
    from walpy.config import Config

NAME: Final = "Yandex KMS"
KEY_ID: Final = "YC_CSE_KMS_KEY_ID"
KEY_FILE: Final = "YC_SERVICE_ACCOUNT_KEY_FILE"
LARGEST_KEY: Final = 4096  # bytes, wrapped; WAL-G's limit

_SIZE_END: Final = len(YANDEX_MAGIC) + 4  # of the part before the wrapped key


class SizedHeader:
    """A wrapped key behind a mark and its size."""

    def pack(self, wrapped: bytes) -> bytes:
        """The header. Raises ConfigError for a wrapped key that it cannot hold."""
        if not 0 < len(wrapped) <= LARGEST_KEY:
            raise ConfigError(f"{NAME} wraps a data key in {len(wrapped)} bytes, at most {LARGEST_KEY} can be stored")
        return YANDEX_MAGIC + len(wrapped).to_bytes(4, "little") + wrapped

    def size(self, head: bytes) -> int:
        """Bytes of the header, as far as head tells. Raises DataCorrupt for another mark, or a senseless size."""
        if not YANDEX_MAGIC.startswith(head[: len(YANDEX_MAGIC)]):
            raise DataCorrupt(f"no {NAME} data: they begin with {head[: len(YANDEX_MAGIC)].hex()}")
        if len(head) < _SIZE_END:
            return _SIZE_END
        size = int.from_bytes(head[len(YANDEX_MAGIC) : _SIZE_END], "little")
        if not 0 < size <= LARGEST_KEY:
            raise DataCorrupt(f"the header of the {NAME} data is damaged: a wrapped key of {size} bytes")
        return _SIZE_END + size

    def unpack(self, head: bytes) -> bytes:
        """The wrapped key of a whole header."""
        return head[_SIZE_END:]


class YandexKeys:
    """Data keys of one KMS key."""

    def __init__(self, api: YandexApi, key_id: str, policy: RetryPolicy) -> None:
        self._api = api
        self._key_id = key_id
        self._policy = policy

    def new_key(self) -> tuple[bytes, bytes]:
        """A data key that the service makes. Raises AccessDenied, ConfigError, WalpyError."""
        return ask(self._policy, partial(self._api.generate_data_key, self._key_id), f"a data key of {NAME}")

    def unwrap(self, wrapped: bytes) -> bytes:
        """A data key. Raises DataCorrupt, and as new_key."""
        return ask(self._policy, partial(self._api.decrypt, self._key_id, wrapped), f"decryption by {NAME}")


def from_config(config: "Config") -> KmsCipher:
    """The cipher that the settings name. Raises ConfigError; no service is asked yet."""
    policy = RetryPolicy.from_config(config)
    api = YandexApi(config, policy, config.text(KEY_FILE), KEY_FILE)
    return KmsCipher(NAME, YandexKeys(api, config.text(KEY_ID), policy), SizedHeader())
