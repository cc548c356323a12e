"""AWS KMS: WALG_CSE_KMS_ID, WALG_CSE_KMS_REGION. An object is the wrapped data key, then a DARE stream.

The wrapped key has no length of its own: it takes exactly 184 bytes, which is what AWS makes of 32 under a symmetric
key. WAL-G reads so many whatever was written, so a service that makes another number (moto's makes 96) is refused
before anything is stored: nobody could read it back. As WAL-G: kms:Encrypt of 32 random bytes, kms:Decrypt, no
encryption context; the SDK's credentials, without AWS_ROLE_ARN, which is for the storage.
"""

import os
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from walpy.errors import ConfigError, DataCorrupt, WalpyError
from walpy.storage.retry import RetryPolicy
from walpy.storage.s3_client import quiet_the_sdk, sdk_config, sdk_session
from walpy.storage.s3_errors import SDK_ERRORS, code_of, walpy_error
from walpy.storage.s3_settings import read_credentials
from walpy.stream.dare import KEY_SIZE
from walpy.stream.identify import AWS_BLOB_SIZE
from walpy.stream.kms import KmsCipher, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from walpy.config import Config

NAME: Final = "AWS KMS"
KEY_ID: Final = "WALG_CSE_KMS_ID"
REGION: Final = "WALG_CSE_KMS_REGION"
ENDPOINT: Final = "AWS_ENDPOINT_URL_KMS"

_FOREIGN: Final = ("InvalidCiphertextException", "IncorrectKeyException")  # the key is not of this service, or damaged
_HINT: Final = f"Check {KEY_ID}, {REGION} and that the credentials may kms:Encrypt and kms:Decrypt with this key."


class FixedHeader:
    """A wrapped key of a fixed size, without any frame."""

    def __init__(self, size: int = AWS_BLOB_SIZE) -> None:
        self._size = size

    def pack(self, wrapped: bytes) -> bytes:
        """The wrapped key. Raises ConfigError for another size."""
        if len(wrapped) != self._size:
            raise ConfigError(
                f"{NAME} wraps a data key in {len(wrapped)} bytes, and the stored format holds exactly {self._size}",
                f"Use a symmetric key of AWS itself for {KEY_ID}: nobody could read what would be written.",
            )
        return wrapped

    def size(self, head: bytes) -> int:
        """The same for all."""
        del head
        return self._size

    def unpack(self, head: bytes) -> bytes:
        """The header is the wrapped key."""
        return head


class AwsKeys:
    """Data keys of one KMS key. client: of the SDK, for KMS."""

    def __init__(self, client: Any, key_id: str, policy: RetryPolicy) -> None:
        self._client = client
        self._key_id = key_id
        self._policy = policy

    def new_key(self) -> tuple[bytes, bytes]:
        """A random key, and what KMS makes of it. Raises AccessDenied, ConfigError, WalpyError."""
        key = os.urandom(KEY_SIZE)
        answer = self._ask("encrypt", lambda: self._client.encrypt(KeyId=self._key_id, Plaintext=key))
        return key, bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes) -> bytes:
        """What KMS had made the wrapped key of. Raises DataCorrupt, and as new_key."""
        return bytes(self._ask("decrypt", lambda: self._client.decrypt(CiphertextBlob=wrapped))["Plaintext"])

    def _ask(self, action: str, request: "Callable[[], Any]") -> Any:
        def attempt() -> Any:
            try:
                return request()
            except SDK_ERRORS as error:
                raise _translated(error, f"cannot {action} a data key with {NAME}") from error

        return ask(self._policy, attempt, f"{action}ion by {NAME}")


def from_config(config: "Config") -> KmsCipher:
    """The cipher that the settings name. Raises ConfigError; KMS is not asked yet."""
    quiet_the_sdk()
    credentials = read_credentials(config)
    policy = RetryPolicy.from_config(config)
    try:
        session = sdk_session(credentials)
        if credentials.access_key:
            session.set_credentials(credentials.access_key, credentials.secret_key, credentials.session_token or None)
        client: Any = session.create_client(
            "kms",
            region_name=config.text(REGION) or config.storage_text("AWS_REGION") or None,
            endpoint_url=config.text(ENDPOINT) or None,
            config=sdk_config(policy),
        )
    except (*SDK_ERRORS, ValueError) as error:
        raise ConfigError(f"cannot set up access to {NAME}: {error}", _HINT) from error
    return KmsCipher(NAME, AwsKeys(client, config.text(KEY_ID), policy), FixedHeader())


def _translated(error: Exception, what: str) -> WalpyError:
    if isinstance(error, ClientError) and code_of(error) in _FOREIGN:
        return DataCorrupt(f"{what}: it does not know the wrapped key ({code_of(error)})", _HINT)
    found = walpy_error(error, what)
    return type(found)(str(found), _HINT)
