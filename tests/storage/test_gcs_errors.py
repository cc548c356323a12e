"""Every error of google-auth, requests, urllib3 and the server has its class, a clear text, and no secret in it."""

import datetime
import inspect
import ipaddress
import pickle
import ssl
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import google.auth.exceptions
import pytest
import requests
import urllib3.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.api_core import exceptions as api

from tests.fixtures.faults import Answer, FaultServer, closed_port
from tests.fixtures.gcs_server import error_document, open_gcs
from walpy.errors import (
    AccessDenied,
    DataCorrupt,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
    describe,
)
from walpy.storage.gcs_errors import FAILURES, KINDS, ROOTS, known, origin, refusal, translate

# Only google-auth's asyncio transport raises these.
ASYNCIO_ONLY = {"TimeoutError", "ResponseError"}


def error_classes(module: ModuleType) -> list[type[BaseException]]:
    """Every error class that a module of a library defines, warnings and roots apart."""
    return [
        found
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Exception)
        and not issubclass(found, Warning)
        and found.__module__ == module.__name__
        and found not in ROOTS
        and not (module is google.auth.exceptions and found.__name__ in ASYNCIO_ONLY)
    ]


def response_with(status: int, body: bytes = b"") -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body
    return response


@pytest.mark.parametrize("module", [google.auth.exceptions, requests.exceptions, urllib3.exceptions])
def test_every_error_class_of_the_libraries_is_classified(module: ModuleType) -> None:
    unknown = [
        found.__name__ for found in error_classes(module) if issubclass(found, FAILURES) and known(found) is None
    ]
    assert unknown == []


def test_an_unheard_of_error_class_is_noticed_and_still_becomes_a_storage_error() -> None:
    class Unheard(requests.RequestException):
        pass

    assert known(Unheard) is None
    assert type(translate(Unheard("new"), "upload of 'a'")) is StorageError


def test_the_table_names_errors_of_ours_only() -> None:
    assert all(issubclass(kind, StorageError) for kind in KINDS.values())


# What each status means that Google's client library has a class for.
STATUSES = {
    301: StorageError,
    304: StorageError,
    307: StorageError,
    308: StorageError,
    400: StorageError,
    401: AccessDenied,
    403: AccessDenied,
    404: StorageError,
    405: StorageError,
    409: StorageError,
    411: StorageError,
    412: StorageError,
    416: StorageError,
    429: StorageThrottled,
    499: StorageError,
    500: StorageUnavailable,
    501: StorageError,
    502: StorageUnavailable,
    503: StorageUnavailable,
    504: StorageUnavailable,
}


def test_every_status_of_googles_client_library_is_classified() -> None:
    codes = {int(found.code) for _, found in inspect.getmembers(api, inspect.isclass) if getattr(found, "code", None)}
    assert codes <= set(STATUSES)


@pytest.mark.parametrize(("status", "kind"), [*STATUSES.items(), (507, StorageFull), (520, StorageUnavailable)])
def test_status(status: int, kind: type[StorageError]) -> None:
    error = translate(refusal(response_with(status, error_document(status, "reason", "because"))), "upload of 'a'")
    assert type(error) is kind
    assert str(error).endswith(f"{status} reason because")
    assert error.transient or str(error).startswith("upload of 'a' failed: ")
    assert pickle.loads(pickle.dumps(error)).args == error.args


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (403, "rateLimitExceeded", StorageThrottled),
        (403, "userRateLimitExceeded", StorageThrottled),
        (403, "quotaExceeded", StorageFull),
        (403, "insufficientPermissions", AccessDenied),
        (403, "retentionPolicyNotMet", AccessDenied),
        (503, "backendError", StorageUnavailable),
    ],
)
def test_reason_goes_before_status(status: int, reason: str, kind: type[StorageError]) -> None:
    assert type(translate(refusal(response_with(status, error_document(status, reason))), "upload")) is kind


def test_a_wrong_checksum_is_data_corrupt() -> None:
    body = error_document(400, "invalid", 'Provided CRC32C "a" doesn\'t match calculated CRC32C "b".')
    assert type(translate(refusal(response_with(400, body)), "upload of 'a'")) is DataCorrupt


@pytest.mark.parametrize(
    "body", [b"", b"<html>  Sorry\n </html>", b"null", b'{"error": "x"}', b'{"error": {"errors": [1]}}', b"\xff\xfe"]
)
def test_error_bodies_of_any_shape_are_understood(body: bytes) -> None:
    error = translate(refusal(response_with(503, body)), "upload of 'a'")
    assert type(error) is StorageUnavailable
    assert str(error).startswith("503")


# google-auth's


def test_missing_credentials_have_a_hint() -> None:
    error = translate(google.auth.exceptions.DefaultCredentialsError("none found"), "search for Google credentials")
    assert type(error) is AccessDenied
    assert "GOOGLE_APPLICATION_CREDENTIALS" in error.hint


def test_a_refused_refresh_is_access_denied() -> None:
    error = translate(google.auth.exceptions.RefreshError("invalid_grant: Invalid JWT", {"error": "x"}), "upload")
    assert type(error) is AccessDenied
    assert "invalid_grant" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        google.auth.exceptions.RefreshError("backend", retryable=True),
        google.auth.exceptions.RefreshError(google.auth.exceptions.TransportError(requests.ConnectionError("reset"))),
        google.auth.exceptions.TransportError(requests.ReadTimeout("slow")),
    ],
)
def test_a_refresh_that_the_network_failed_is_unavailable(error: Exception) -> None:
    assert type(translate(error, "upload")) is StorageUnavailable


# the network's, through a real client


def test_no_address_of_a_session_gets_into_an_error() -> None:
    port = closed_port()
    session_address = f"http://127.0.0.1:{port}/upload/storage/v1/b/bucket/o?upload_id=SECRET"
    with (
        FaultServer(Answer(200, (("Location", session_address),))) as server,
        open_gcs(server.url, WALPY_STORAGE_DEADLINE="0.5s", GCS_MAX_CHUNK_SIZE="262144") as storage,
        pytest.raises(StorageUnavailable) as caught,
    ):
        storage.put("a", [bytes(300_000)])
    assert "SECRET" not in describe(caught.value)
    assert "SECRET" not in str(caught.value.__cause__)
    assert "refused" in str(caught.value)
    assert "'gs://bucket/cluster/a'" in str(caught.value)


def test_the_cause_is_kept() -> None:
    with (
        FaultServer(Answer(403, (), error_document(403, "forbidden", "no access"))) as server,
        open_gcs(server.url) as storage,
        pytest.raises(AccessDenied) as caught,
    ):
        storage.stat("a")
    cause = caught.value.__cause__
    assert isinstance(cause, requests.HTTPError)
    assert cause.response is not None
    assert cause.response.status_code == HTTPStatus.FORBIDDEN
    assert str(caught.value) == "look-up of 'gs://bucket/cluster/a' failed: 403 forbidden no access"
    assert "storage.objects" in caught.value.hint


def test_origin_of_an_error_that_wraps_nothing_is_itself() -> None:
    error = ValueError("plain")
    assert origin(error) is error
    assert origin(requests.ConnectionError(error)) is error


@pytest.fixture
def untrusted_server(tmp_path: Path) -> Iterator[str]:
    """A server with TLS whose certificate nobody signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_untrusted_certificate_is_refused_at_once(untrusted_server: str) -> None:
    started = time.monotonic()
    with open_gcs(untrusted_server) as storage, pytest.raises(StorageError, match="certificate") as caught:
        storage.stat("a")
    assert not caught.value.transient
    assert time.monotonic() - started < 5
