"""Every error of the SDK and of servers becomes one of walpy's, with a message that says what happened to what."""

import inspect
import pickle
import ssl

import pytest
from botocore import exceptions as sdk
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import ProtocolError

from walpy.errors import (
    AccessDenied,
    ConfigError,
    Interrupted,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
    WalpyError,
    describe,
)
from walpy.storage.s3_errors import SDK_CLASSES, SDK_ERRORS, class_of_answer, walpy_error

WHAT = "cannot read 's3://bucket/key'"
GROUPED = [one for classes, _ in SDK_CLASSES for one in classes]
SDK_EXCEPTIONS = [
    item
    for _, item in inspect.getmembers(sdk, inspect.isclass)
    if issubclass(item, Exception) and item.__module__ == sdk.__name__ and not issubclass(item, Warning)
]


def answer(code: str, status: int, message: str = "the server's words") -> ClientError:
    """The SDK's error for a server's answer."""
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )


@pytest.mark.parametrize("kind", SDK_EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_sdk_exception_is_classified(kind: type[Exception]) -> None:
    if kind in (BotoCoreError, ClientError, sdk.EventStreamError):
        return  # the bases, and the errors of servers
    assert any(issubclass(kind, one) for one in GROUPED), f"{kind.__name__} is new in botocore: which error is it?"


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchKey", 404, ObjectMissing),
        ("404", 404, StorageError),
        ("NoSuchBucket", 404, StorageError),
        ("NoSuchUpload", 404, StorageError),
        ("AccessDenied", 403, AccessDenied),
        ("403", 403, AccessDenied),
        ("InvalidAccessKeyId", 403, AccessDenied),
        ("SignatureDoesNotMatch", 403, AccessDenied),
        ("ExpiredToken", 400, AccessDenied),
        ("Whatever", 401, AccessDenied),
        ("SlowDown", 503, StorageThrottled),
        ("SlowDown", 200, StorageThrottled),
        ("Throttling", 400, StorageThrottled),
        ("TooManyRequests", 429, StorageThrottled),
        ("", 429, StorageThrottled),
        ("", 503, StorageThrottled),
        ("InternalError", 500, StorageUnavailable),
        ("InternalError", 200, StorageUnavailable),
        ("RequestTimeout", 400, StorageUnavailable),
        ("RequestTimeTooSkewed", 403, StorageUnavailable),
        ("OperationAborted", 409, StorageUnavailable),
        ("ConditionalRequestConflict", 409, StorageUnavailable),
        ("BadDigest", 400, StorageUnavailable),
        ("", 500, StorageUnavailable),
        ("", 502, StorageUnavailable),
        ("", 504, StorageUnavailable),
        ("", 499, StorageUnavailable),
        ("NotImplemented", 501, StorageError),
        ("InvalidStorageClass", 400, StorageError),
        ("InvalidObjectState", 403, StorageError),
        ("PermanentRedirect", 301, StorageError),
        ("XMinioStorageFull", 507, StorageFull),
        ("QuotaExceeded", 403, StorageFull),
        ("", 507, StorageFull),
    ],
)
def test_answers_of_servers(code: str, status: int, expected: type[WalpyError]) -> None:
    assert class_of_answer(code, status) is expected
    assert type(walpy_error(answer(code, status), WHAT)) is expected


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (sdk.NoCredentialsError(), AccessDenied, "access denied"),
        (sdk.PartialCredentialsError(provider="env", cred_var="x"), AccessDenied, "access denied"),
        (sdk.EndpointConnectionError(endpoint_url="http://h", error="no"), StorageUnavailable, "cannot be reached"),
        (sdk.ConnectTimeoutError(endpoint_url="http://h"), StorageUnavailable, "no connection in time"),
        (sdk.ReadTimeoutError(endpoint_url="http://h"), StorageUnavailable, "no answer in time"),
        (
            sdk.ConnectionClosedError(error=ProtocolError("aborted", TimeoutError("timed out")), endpoint_url="h"),
            StorageUnavailable,
            "no answer in time",
        ),
        (sdk.ConnectionClosedError(endpoint_url="http://h"), StorageUnavailable, "cannot be reached"),
        (sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2), StorageUnavailable, "does not answer properly"),
        (sdk.ProfileNotFound(profile="p"), ConfigError, "do not fit"),
        (sdk.ParamValidationError(report="r"), StorageError, "could not be made"),
        (ProtocolError("broken"), StorageUnavailable, "does not answer properly"),
        (ConnectionResetError(), StorageUnavailable, "does not answer properly"),
    ],
)
def test_errors_of_the_sdk(error: Exception, expected: type[WalpyError], says: str) -> None:
    assert isinstance(error, SDK_ERRORS)
    found = walpy_error(error, WHAT)
    assert type(found) is expected
    assert str(found).startswith(WHAT)
    assert says in str(found)


def test_an_untrusted_certificate_is_not_worth_repeating() -> None:
    reason = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    found = walpy_error(sdk.SSLError(endpoint_url="https://h", error=reason), WHAT)
    assert type(found) is StorageError
    assert "S3_CA_CERT_FILE" in found.hint


def test_other_tls_trouble_may_pass() -> None:
    found = walpy_error(sdk.SSLError(endpoint_url="https://h", error="EOF occurred in violation of protocol"), WHAT)
    assert type(found) is StorageUnavailable


def test_a_signal_is_not_taken_for_a_broken_connection() -> None:
    signal = Interrupted("stopped by SIGTERM")
    assert walpy_error(sdk.HTTPClientError(error=signal), WHAT) is signal


@pytest.mark.parametrize(
    ("code", "status", "hint"),
    [
        ("NoSuchBucket", 404, "walpy creates no buckets"),
        ("AccessDenied", 403, "s3:ListBucket"),
        ("403", 403, "s3:ListBucket"),
        ("AuthorizationHeaderMalformed", 400, "AWS_REGION"),
        ("SignatureDoesNotMatch", 403, "AWS_SECRET_ACCESS_KEY"),
        ("ExpiredToken", 400, "AWS_SESSION_TOKEN"),
        ("RequestTimeTooSkewed", 403, "clock"),
        ("InvalidStorageClass", 400, "S3_STORAGE_CLASS"),
        ("InvalidObjectState", 403, "restore it"),
    ],
)
def test_hints_say_what_to_do(code: str, status: int, hint: str) -> None:
    found = walpy_error(answer(code, status), WHAT)
    assert hint in found.hint
    assert code in str(found)


def test_a_person_reads_the_servers_words_too() -> None:
    cause = answer("AccessDenied", 403)
    error = walpy_error(cause, WHAT)
    error.__cause__ = cause
    assert describe(error).startswith(f"{WHAT}: access denied (AccessDenied): An error occurred")
    assert "the server's words" in describe(error)


def test_errors_survive_pickling() -> None:
    error = walpy_error(answer("SlowDown", 503), WHAT)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args) == (type(error), error.args)
