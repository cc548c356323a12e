"""What went wrong with Azure: every error of the SDK, and every error code of the service, as one of walpy's errors.

Sources: azure.core.exceptions; StorageErrorCode of azure.storage.blob; "Blob service error codes" and "Common REST API
error codes" in Microsoft's reference. A code decides when it is known; the HTTP status decides otherwise.

A shared access signature is part of every address, and the HTTP library puts addresses into its messages: texts come
from the innermost error, which has none, and origin() is what an error of ours is raised from.
"""

import ssl
from http.client import HTTPException

import requests
import urllib3.exceptions as pool
from azure.core import exceptions as sdk

from walpy.errors import (
    AccessDenied,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
    WalpyError,
)
from walpy.storage.refusals import HEALTH, REASONS, SLOW_DOWN, class_of_code

# What one attempt of a request, or of reading its answer, can raise.
SDK_ERRORS = (
    sdk.AzureError,
    sdk.SerializationError,
    sdk.DeserializationError,
    requests.RequestException,
    pool.HTTPError,
    HTTPException,
    OSError,
)

_CONTAINER = "Check the container's name in WALG_AZ_PREFIX, and AZURE_STORAGE_ACCOUNT; walpy creates no containers."
_CREDENTIALS = (
    "Check AZURE_STORAGE_ACCESS_KEY or AZURE_STORAGE_SAS_TOKEN (an expired one looks the same), and the clock of this"
    " machine."
)
_PERMISSIONS = "docs/azure.md lists the permissions that walpy needs on the container."
_NETWORK = "Check AZURE_STORAGE_ACCOUNT, AZURE_ENDPOINT_SUFFIX and the network."
_VERSION = "Set AZURE_BLOB_STORE_API_VERSION to a version that the server knows."

_CODES: dict[type[WalpyError], str] = {
    ObjectMissing: "BlobNotFound",
    AccessDenied: (
        "AuthenticationFailed AuthorizationFailure AuthorizationPermissionMismatch AuthorizationProtocolMismatch"
        " AuthorizationResourceTypeMismatch AuthorizationServiceMismatch AuthorizationSourceIPMismatch"
        " InsufficientAccountPermissions InvalidAuthenticationInfo KeyBasedAuthenticationNotPermitted"
        " NoAuthenticationInformation PublicAccessNotPermitted UnauthorizedBlobOverwrite AccountIsDisabled"
        " ContainerDisabled BlobImmutableDueToPolicy BlobImmutableDueToLegalHold"
    ),
    StorageThrottled: "ServerBusy TooManyRequests IngressOverAccountLimit EgressOverAccountLimit",
    StorageUnavailable: "InternalError OperationTimedOut Md5Mismatch Crc64Mismatch ContainerBeingDeleted",
    StorageFull: "AccountLimitExceeded InsufficientStorage",
}
_CLASS_OF_CODE = class_of_code(_CODES)

_HINTS = {
    "ContainerNotFound": _CONTAINER,
    "ContainerDisabled": _CONTAINER,
    "ContainerBeingDeleted": _CONTAINER,
    "InvalidResourceName": _CONTAINER,
    "ResourceNotFound": _CONTAINER,
    "AuthenticationFailed": _CREDENTIALS,
    "InvalidAuthenticationInfo": _CREDENTIALS,
    "NoAuthenticationInformation": _CREDENTIALS,
    "KeyBasedAuthenticationNotPermitted": (
        "The account allows no keys: unset AZURE_STORAGE_ACCESS_KEY, so that an identity is used."
    ),
    "AuthorizationSourceIPMismatch": "The account's firewall, or the token, does not allow this machine's address.",
    "AuthorizationFailure": f"{_PERMISSIONS} The account's firewall may refuse this machine as well.",
    "BlobArchived": "The blob is in the archive tier: rehydrate it first.",
    "BlobBeingRehydrated": "The blob is on its way out of the archive tier: try again when it has arrived.",
    "BlobImmutableDueToPolicy": "An immutability policy protects it until its time has passed.",
    "BlobImmutableDueToLegalHold": "A legal hold protects it.",
    "LeaseIdMissing": "Somebody holds a lease on the blob: break it.",
    "InvalidBlobOrBlock": (
        "Blocks of an unfinished upload by another program may be in the way: Azure removes them after a week, or when"
        " a small blob of that name is stored."
    ),
    "UnsupportedHeader": _VERSION,
}

# Every class of azure.core below AzureError, or a parent of it: the first hit along a class's parents counts.
KINDS: dict[type[BaseException], type[StorageError]] = {
    sdk.ServiceRequestError: StorageUnavailable,
    sdk.ServiceResponseError: StorageUnavailable,
    sdk.DecodeError: StorageUnavailable,  # a proxy's page, or a body that was cut short
    sdk.ClientAuthenticationError: AccessDenied,  # without an answer: no token can be had
    sdk.HttpResponseError: StorageError,  # with an answer: by its code, below
    sdk.StreamConsumedError: StorageError,
    sdk.StreamClosedError: StorageError,
    sdk.ResponseNotReadError: StorageError,
    sdk.SerializationError: StorageError,
    sdk.DeserializationError: StorageUnavailable,
    requests.RequestException: StorageUnavailable,
    pool.HTTPError: StorageUnavailable,
    HTTPException: StorageUnavailable,
    OSError: StorageUnavailable,
}

# For errors whose code has no hint of its own.
_HINTS_OF_CLASS: dict[type[WalpyError], str] = {
    AccessDenied: _PERMISSIONS,
    StorageThrottled: SLOW_DOWN,
    StorageUnavailable: HEALTH,
    StorageFull: "Raise the account's quota.",
}

_REASONS: dict[type[WalpyError], str] = {
    **REASONS,
    ObjectMissing: "no such blob",
}


def code_of(error: sdk.HttpResponseError) -> str:
    """Error code of an answer: `BlobNotFound`; empty when it had none."""
    headers = getattr(error.response, "headers", {})
    code = getattr(error, "error_code", None) or headers.get("x-ms-error-code") or ""
    return str(getattr(code, "value", code))


def status_of(error: sdk.HttpResponseError) -> int:
    """HTTP status of an answer; 0 when there was none."""
    return int(error.status_code or 0)


def class_of_answer(code: str, status: int) -> type[WalpyError]:
    """Class of error for an answer: by its code, and by its HTTP status when the code is unknown.

    A bare 404 is no proof that a blob is missing (a wrong endpoint answers so as well): StorageError.
    """
    if code in _CLASS_OF_CODE:
        return _CLASS_OF_CODE[code]
    if status in (401, 403, 407):
        return AccessDenied
    if status in (429, 503):
        return StorageThrottled
    if status == 507:
        return StorageFull
    if status < 300 or status in (408, 425, 499) or (status >= 500 and status not in (501, 505)):
        return StorageUnavailable  # a success that is none of those expected: a proxy's page
    return StorageError


def error_of_answer(code: str, status: int, what: str) -> WalpyError:
    """The error for an answer; what: `cannot read 'azure://container/name'`."""
    kind = class_of_answer(code, status)
    reason = _REASONS.get(kind, "the server refused")
    if code == "ContainerNotFound":
        reason = "the container does not exist"
    hint = _HINTS.get(code) or (_CONTAINER if status == 404 else _HINTS_OF_CLASS.get(kind, ""))
    return kind(f"{what}: {reason} ({code or status})", hint)


def origin(error: BaseException) -> BaseException:
    """The error that started it, below the wrappings of azure-core, requests and urllib3."""
    while True:
        inner = error.reason if isinstance(error, pool.MaxRetryError) else (error.args or (None,))[0]
        if isinstance(error, sdk.AzureError) and isinstance(error.inner_exception, BaseException):
            inner = error.inner_exception
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner


def known(cls: type[BaseException]) -> type[StorageError] | None:
    """What an error of this class becomes; None for a class that nobody thought of."""
    return next((KINDS[parent] for parent in cls.__mro__ if parent in KINDS), None)


def walpy_error(error: BaseException, what: str) -> WalpyError:
    """The error for anything in SDK_ERRORS, to be raised from origin(error).

    what: `cannot read 'azure://container/name'`. An error of walpy's own that the SDK has wrapped (a signal arrives
    while it waits for an answer) comes back as it was.
    """
    cause = origin(error)
    if isinstance(cause, WalpyError):
        return cause
    if isinstance(error, sdk.HttpResponseError) and status_of(error) and not _is_about_credentials(error):
        return error_of_answer(code_of(error), status_of(error), what)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return StorageError(
            f"{what}: the server's certificate is not trusted",
            "Name the certificate authority's file with REQUESTS_CA_BUNDLE, and check AZURE_ENDPOINT_SUFFIX.",
        )
    kind = known(type(error)) or StorageError
    if kind is AccessDenied:
        detail = (str(error).splitlines() or [""])[0]
        return kind(f"{what}: no credentials: {detail}", "docs/azure.md tells where credentials come from.")
    return kind(f"{what}: {_reason(error, cause, kind)}", _hint(error, kind))


def _is_about_credentials(error: sdk.HttpResponseError) -> bool:
    """Whether it comes from where tokens are given, and not from the storage."""
    return isinstance(error, sdk.ClientAuthenticationError) and not code_of(error)


def _reason(error: BaseException, cause: BaseException, kind: type[WalpyError]) -> str:
    if isinstance(error, sdk.ServiceRequestTimeoutError):
        return "no connection in time"
    if isinstance(error, sdk.ServiceResponseTimeoutError) or isinstance(cause, TimeoutError):
        return "no answer in time"
    return _REASONS.get(kind, "the request could not be made")


def _hint(error: BaseException, kind: type[WalpyError]) -> str:
    return _NETWORK if isinstance(error, sdk.ServiceRequestError) else _HINTS_OF_CLASS.get(kind, "")
