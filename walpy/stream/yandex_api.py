"""Requests to Yandex Cloud: its key service, and the tokens that open it. Plain HTTPS, without an SDK.

A token comes from a service account's key (a signed JWT, exchanged for it), or from the machine's metadata service. It
is renewed before it ends, and never stored. Source: the REST references of KMS (symmetric crypto) and IAM.
"""

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from walpy import __version__
from walpy.errors import AccessDenied, ConfigError, DataCorrupt, StorageThrottled, StorageUnavailable, WalpyError
from walpy.stream.key_file import read_key_file

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.storage.retry import RetryPolicy

KMS_ENDPOINT: Final = "WALPY_YC_KMS_ENDPOINT"
IAM_ENDPOINT: Final = "WALPY_YC_IAM_ENDPOINT"
METADATA_ENDPOINT: Final = "WALPY_YC_METADATA_ENDPOINT"

JWT_SECONDS: Final = 3600  # the longest that IAM takes
TOKEN_SECONDS: Final = 3600  # tokens last up to twelve hours; Yandex wants them renewed every hour
EARLY_SECONDS: Final = 60  # a token is renewed so long before it ends
LARGEST_ANSWER: Final = 1 << 20  # bytes

_PEM_BEGIN: Final = b"-----BEGIN"  # Yandex puts a line of warning before it
_AUDIENCE: Final = "https://iam.api.cloud.yandex.net/iam/v1/tokens"  # of the JWT, wherever it is sent
_PERMISSIONS: Final = "The service account needs the role kms.keys.encrypterDecrypter on the key."

logger = logging.getLogger(__name__)

Document = Mapping[str, object]


class Token(NamedTuple):
    """A token, and until when it is used, on the monotonic clock."""

    text: str
    end: float

    def __repr__(self) -> str:
        return f"Token(end={self.end!r})"


class ServiceAccount:
    """A service account's key. Raises ConfigError for a file that holds none."""

    def __init__(self, path: str, setting: str) -> None:
        content = read_key_file(path, setting)
        try:
            document = json.loads(content)
            self._key_id, self._account = str(document["id"]), str(document["service_account_id"])
            pem = str(document["private_key"]).encode()
            key = load_pem_private_key(pem[max(0, pem.find(_PEM_BEGIN)) :], None)
        except (ValueError, KeyError, TypeError):
            key = None
        if not isinstance(key, RSAPrivateKey):
            raise ConfigError(
                f"the key file {path!r} of {setting} is no authorized key of a service account",
                "yc iam key create --service-account-name NAME --output FILE makes one.",
            )
        self._key = key

    def jwt(self, now: int) -> str:
        """A request for a token, signed (PS256). now: seconds since the epoch."""
        claims = {"aud": _AUDIENCE, "iss": self._account, "iat": now, "exp": now + JWT_SECONDS}
        signed = _encoded({"typ": "JWT", "alg": "PS256", "kid": self._key_id}) + b"." + _encoded(claims)
        signature = self._key.sign(signed, PSS(MGF1(SHA256()), SHA256.digest_size), SHA256())
        return (signed + b"." + _base64url(signature)).decode()


class Tokens:
    """The token in use; safe for threads. fetch: gives a new one, and for how many seconds."""

    def __init__(self, fetch: Callable[[], tuple[str, float]]) -> None:
        self._fetch = fetch
        self._token = Token("", 0.0)
        self._lock = threading.Lock()

    def get(self) -> str:
        """A token that is good for a while. Raises what fetch raises."""
        with self._lock:
            now = time.monotonic()
            if now >= self._token.end:
                text, seconds = self._fetch()
                self._token = Token(text, now + min(seconds - EARLY_SECONDS, TOKEN_SECONDS))
            return self._token.text

    def forget(self) -> None:
        """Fetch another next time: this one was refused."""
        with self._lock:
            self._token = Token("", 0.0)


class YandexApi:
    """The key service of one cloud. key_file: a service account's; empty: the machine's own account is used."""

    def __init__(self, config: "Config", policy: "RetryPolicy", key_file: str, setting: str) -> None:
        self._policy = policy
        self._kms, self._iam, self._metadata = (
            _endpoint(config, name) for name in (KMS_ENDPOINT, IAM_ENDPOINT, METADATA_ENDPOINT)
        )
        self._account = ServiceAccount(key_file, setting) if key_file else None
        self._tokens = Tokens(self._exchanged if self._account else self._from_metadata)

    def generate_data_key(self, key_id: str) -> tuple[bytes, bytes]:
        """A data key of 32 bytes, plain and wrapped; one attempt. Raises AccessDenied, StorageError, WalpyError."""
        answer = self._call(key_id, "generateDataKey", {"dataKeySpec": "AES_256"})
        return _bytes_of(answer, "dataKeyPlaintext"), _bytes_of(answer, "dataKeyCiphertext")

    def decrypt(self, key_id: str, wrapped: bytes) -> bytes:
        """What was wrapped; one attempt. Raises DataCorrupt, and as generate_data_key."""
        answer = self._call(key_id, "decrypt", {"ciphertext": base64.b64encode(wrapped).decode()})
        return _bytes_of(answer, "plaintext")

    def _call(self, key_id: str, action: str, document: Document) -> Document:
        url = f"{self._kms}/kms/v1/keys/{quote(key_id, safe='')}:{action}"
        status, answer = self._request("POST", url, document, {"Authorization": f"Bearer {self._tokens.get()}"})
        if status == 200:
            return answer
        if status == 401:
            self._tokens.forget()
        raise _refusal(status, answer, f"Yandex KMS {action} with key {key_id!r}", is_data=action == "decrypt")

    def _exchanged(self) -> tuple[str, float]:
        assert self._account
        document = {"jwt": self._account.jwt(int(time.time()))}
        status, answer = self._request("POST", f"{self._iam}/iam/v1/tokens", document, {})
        if status != 200:
            raise _refusal(status, answer, "the exchange of the service account's key for a token", is_data=False)
        return _text_of(answer, "iamToken"), TOKEN_SECONDS

    def _from_metadata(self) -> tuple[str, float]:
        url = f"{self._metadata}/computeMetadata/v1/instance/service-accounts/default/token"
        status, answer = self._request("GET", url, None, {"Metadata-Flavor": "Google"})
        if status != 200:
            raise _refusal(status, answer, "the machine's metadata service", is_data=False)
        seconds = answer.get("expires_in")
        return _text_of(answer, "access_token"), float(seconds) if isinstance(seconds, int) else TOKEN_SECONDS

    def _request(
        self, method: str, url: str, document: Document | None, headers: Mapping[str, str]
    ) -> tuple[int, Document]:
        """Status and JSON of an answer. Raises StorageUnavailable when there is none."""
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self._policy.connect_timeout)
        body = None if document is None else json.dumps(document).encode()
        try:
            connection.connect()
            connection.sock.settimeout(self._policy.read_timeout)
            connection.request(
                method,
                parts.path,
                body,
                {"Content-Type": "application/json", "User-Agent": f"walpy/{__version__}", **headers},
            )
            answer = connection.getresponse()
            return answer.status, _parsed(answer.read(LARGEST_ANSWER))
        except (OSError, HTTPException) as error:
            raise StorageUnavailable(f"{parts.netloc} cannot be reached: {error or type(error).__name__}") from error
        finally:
            connection.close()


def _endpoint(config: "Config", key: str) -> str:
    url = config.text(key).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise config.invalid(key, "expected http:// or https:// and a host")
    return url


def _parsed(content: bytes) -> Document:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _refusal(status: int, answer: Document, what: str, *, is_data: bool) -> WalpyError:
    said = str(answer.get("message") or f"status {status}")[:200]
    message = f"{what} failed: {said}"
    if status == 401:
        return AccessDenied(message, "Check the service account's key; it may have been deleted.")
    if status == 403:
        return AccessDenied(message, _PERMISSIONS)
    if status == 429:
        return StorageThrottled(message)
    if status >= 500 or status == 408:
        return StorageUnavailable(message)
    if status == 400 and is_data:
        return DataCorrupt(message, "The wrapped key is damaged, or of another key of the service.")
    return ConfigError(message, "Check the key's id.")


def _bytes_of(answer: Document, name: str) -> bytes:
    try:
        return base64.b64decode(_text_of(answer, name), validate=True)
    except ValueError:
        raise StorageUnavailable(f"Yandex KMS gave no {name}") from None


def _text_of(answer: Document, name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise StorageUnavailable(f"Yandex Cloud gave no {name}")
    return value


def _encoded(document: Document) -> bytes:
    return _base64url(json.dumps(document, separators=(",", ":")).encode())


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
