"""Errors of the Google Cloud Storage backend: what google-auth, requests, urllib3 and the server say, as walpy's.

Addresses of upload sessions are as good as passwords, and requests puts addresses into its messages: translate() gives
texts without them, and origin() finds the error below that has none.
"""

import ssl
from http import HTTPStatus
from http.client import HTTPException
from typing import NamedTuple

import requests
import urllib3.exceptions as pool
from google.auth import exceptions as auth
from requests import exceptions as http

from walpy.errors import (
    AccessDenied,
    DataCorrupt,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
    WalpyError,
)
from walpy.storage.refusals import SLOW_DOWN

# What one attempt of a request, or of reading its answer, can raise.
FAILURES = (requests.RequestException, pool.HTTPError, auth.GoogleAuthError, HTTPException, OSError)

CREDENTIALS_HINT = (
    "Set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or run where Google gives credentials."
)
PERMISSION_HINT = "The account needs storage.objects.create, delete, get and list on the bucket."
BUCKET_HINT = "Check the bucket's name in WALG_GS_PREFIX."

# For errors of which nothing more is known.
HINTS: dict[type[WalpyError], str] = {
    StorageThrottled: SLOW_DOWN,
    StorageUnavailable: (
        "Check the network and the storage's health; WALPY_STORAGE_DEADLINE says how long walpy goes on trying."
    ),
    StorageFull: "Raise the quota.",
}

ROOTS = (requests.RequestException, pool.HTTPError, auth.GoogleAuthError)

# Every class of the three libraries below its root, or a parent of it: the first hit along a class's parents counts.
KINDS: dict[type[BaseException], type[StorageError]] = {
    # google-auth
    auth.TransportError: StorageUnavailable,
    auth.RefreshError: AccessDenied,
    auth.DefaultCredentialsError: AccessDenied,
    auth.UserAccessTokenError: AccessDenied,
    auth.MutualTLSChannelError: AccessDenied,
    auth.ClientCertError: AccessDenied,
    auth.OAuthError: AccessDenied,
    # requests
    http.ConnectionError: StorageUnavailable,
    http.Timeout: StorageUnavailable,
    http.ChunkedEncodingError: StorageUnavailable,
    http.ContentDecodingError: StorageUnavailable,
    http.JSONDecodeError: StorageUnavailable,  # a success whose body was cut short
    http.HTTPError: StorageError,  # with a response: by its status, below
    http.InvalidJSONError: StorageError,
    http.URLRequired: StorageError,
    http.TooManyRedirects: StorageError,
    http.MissingSchema: StorageError,
    http.InvalidSchema: StorageError,
    http.InvalidURL: StorageError,
    http.InvalidHeader: StorageError,
    http.StreamConsumedError: StorageError,
    http.RetryError: StorageError,
    http.UnrewindableBodyError: StorageError,
    # urllib3, while a body is read
    pool.PoolError: StorageUnavailable,
    pool.TimeoutError: StorageUnavailable,
    pool.ProtocolError: StorageUnavailable,
    pool.IncompleteRead: StorageUnavailable,
    pool.InvalidChunkLength: StorageUnavailable,
    pool.ProxyError: StorageUnavailable,
    pool.SSLError: StorageUnavailable,
    pool.DecodeError: StorageUnavailable,
    pool.ResponseError: StorageUnavailable,
    pool.HeaderParsingError: StorageUnavailable,
    pool.InvalidHeader: StorageError,
    pool.BodyNotHttplibCompatible: StorageError,
    pool.LocationValueError: StorageError,
    pool.UnrewindableBodyError: StorageError,
    pool.TimeoutStateError: StorageError,
    # the standard library
    HTTPException: StorageUnavailable,
    ConnectionError: StorageUnavailable,
    TimeoutError: StorageUnavailable,
    ssl.SSLError: StorageUnavailable,
    OSError: StorageError,
}

# Reasons in the server's error document, whatever the status.
REASONS: dict[str, type[StorageError]] = {
    "rateLimitExceeded": StorageThrottled,
    "userRateLimitExceeded": StorageThrottled,
    "quotaExceeded": StorageFull,
    "dailyLimitExceeded": StorageFull,
}

STATUSES: dict[int, type[StorageError]] = {
    HTTPStatus.UNAUTHORIZED: AccessDenied,
    HTTPStatus.FORBIDDEN: AccessDenied,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: AccessDenied,
    HTTPStatus.REQUEST_TIMEOUT: StorageUnavailable,
    HTTPStatus.TOO_EARLY: StorageUnavailable,
    HTTPStatus.TOO_MANY_REQUESTS: StorageThrottled,
    HTTPStatus.INTERNAL_SERVER_ERROR: StorageUnavailable,
    HTTPStatus.NOT_IMPLEMENTED: StorageError,
    HTTPStatus.BAD_GATEWAY: StorageUnavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: StorageUnavailable,
    HTTPStatus.GATEWAY_TIMEOUT: StorageUnavailable,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: StorageError,
    HTTPStatus.INSUFFICIENT_STORAGE: StorageFull,
}


class Explanation(NamedTuple):
    """What an error response says: Google's reason (may be empty) and a text for people (may be empty)."""

    reason: str
    message: str


def explanation(response: requests.Response) -> Explanation:
    """Read an error response: Google's JSON document, or plain text."""
    try:
        document = response.json()
    except ValueError:
        return Explanation("", " ".join(response.text.split())[:200])
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return Explanation("", "")
    details = error.get("errors")
    first = details[0] if isinstance(details, list) and details and isinstance(details[0], dict) else {}
    return Explanation(str(first.get("reason") or ""), str(error.get("message") or ""))


def refusal(response: requests.Response) -> http.HTTPError:
    """The error for a status that nobody expected; its text has status, reason and message, and no address."""
    said = explanation(response)
    words = [str(response.status_code), said.reason or response.reason or "", said.message]
    return http.HTTPError(" ".join(word for word in words if word), response=response)


def origin(error: BaseException) -> BaseException:
    """The error that started it, below the wrappings of google-auth, requests and urllib3."""
    while True:
        inner = error.reason if isinstance(error, pool.MaxRetryError) else (error.args or (None,))[0]
        if not isinstance(inner, BaseException):
            return error
        error = inner


def known(cls: type[BaseException]) -> type[StorageError] | None:
    """What an error of this class becomes; None for a class that nobody thought of."""
    for parent in cls.__mro__:
        if parent in KINDS:
            return KINDS[parent]
        if parent in ROOTS:
            break
    return None


def translate(error: BaseException, what: str) -> WalpyError:
    """walpy's error for anything out of FAILURES; raise it from origin(error).

    what: what was tried, on which object: `upload of 'wal_005/...'`. A transient error's message leaves it out, because
    RetryPolicy puts it in front.
    """
    if isinstance(error, http.HTTPError) and error.response is not None:
        return _translate_refusal(error, error.response, what)
    cause = origin(error)
    kind = known(type(error)) or StorageError
    below = known(type(cause))
    if isinstance(cause, ssl.SSLCertVerificationError):
        kind = StorageError  # trying again changes no certificate
    elif (below and below.transient) or (isinstance(error, auth.GoogleAuthError) and error.retryable):
        kind = StorageUnavailable  # a token could not be fetched, because of the network
    detail = str(cause) or type(cause).__name__
    hint = CREDENTIALS_HINT if kind is AccessDenied else HINTS.get(kind, "")
    return kind(detail if kind.transient else f"{what} failed: {detail}", hint)


def _translate_refusal(error: http.HTTPError, response: requests.Response, what: str) -> WalpyError:
    said = explanation(response)
    if response.status_code == HTTPStatus.BAD_REQUEST and "CRC32C" in said.message:
        return DataCorrupt(f"{what} failed: {error}", "The data changed on its way to the storage; try again.")
    default = StorageUnavailable if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else StorageError
    kind = REASONS.get(said.reason) or STATUSES.get(response.status_code, default)
    hint = HINTS.get(kind, "")
    if kind is AccessDenied:
        hint = PERMISSION_HINT if response.status_code == HTTPStatus.FORBIDDEN else CREDENTIALS_HINT
    elif response.status_code == HTTPStatus.NOT_FOUND:
        hint = BUCKET_HINT
    return kind(str(error) if kind.transient else f"{what} failed: {error}", hint)
