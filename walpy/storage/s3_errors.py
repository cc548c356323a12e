"""What went wrong with S3: every error of the SDK, and every error code of a server, as one of walpy's errors.

Sources: botocore.exceptions; the list of error codes in Amazon S3's API reference; the codes that MinIO, Ceph and other
look-alikes add. A code decides when it is known; the HTTP status decides otherwise.
"""

from botocore import exceptions as sdk
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from walpy.errors import (
    AccessDenied,
    ConfigError,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
    WalpyError,
)
from walpy.storage.refusals import HEALTH, REASONS, SLOW_DOWN, class_of_code

# What a call of the client, or a read from its body, can raise.
SDK_ERRORS = (BotoCoreError, ClientError, HTTPError, OSError)

_REGION = "Set AWS_REGION to the region of the bucket."
_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or check the profile, role or metadata service in use."
_BUCKET = "Check the bucket's name in WALG_S3_PREFIX, AWS_ENDPOINT and AWS_REGION; walpy creates no buckets."
_PERMISSIONS = (
    "docs/s3.md lists the permissions that walpy needs; without s3:ListBucket on the bucket, S3 denies access to what"
    " is missing as well."
)
_CLOCK = "Set the clock of this machine."
_NETWORK = "Check AWS_ENDPOINT and AWS_REGION, and the network."
_CERTIFICATE = "Name the certificate authority with S3_CA_CERT_FILE, and check AWS_ENDPOINT."

_CODES: dict[type[WalpyError], str] = {
    ObjectMissing: "NoSuchKey",
    StorageError: "InvalidObjectState NoSuchBucket",  # the first comes with status 403
    AccessDenied: (
        "AccessDenied AccessDeniedException AccountProblem AllAccessDisabled CrossLocationLoggingProhibited"
        " ExpiredToken ExpiredTokenException Forbidden InvalidAccessKeyId InvalidClientTokenId InvalidPayer"
        " InvalidSecurity InvalidToken InvalidIdentityToken MissingSecurityHeader NotSignedUp SignatureDoesNotMatch"
        " TokenRefreshRequired Unauthorized UnauthorizedAccess UnrecognizedClientException XMinioAdminInvalidAccessKey"
    ),
    StorageThrottled: (
        "SlowDown SlowDownRead SlowDownWrite ServiceUnavailable Throttling ThrottlingException ThrottledException"
        " RequestThrottled RequestThrottledException RequestLimitExceeded BandwidthLimitExceeded LimitExceeded"
        " TooManyRequests TooManyRequestsException PriorRequestNotComplete TransactionInProgressException"
        " XMinioServerNotInitialized"
    ),
    StorageUnavailable: (
        "InternalError InternalFailure InternalServerError RequestTimeout RequestTimeoutException OperationAborted"
        " ConditionalRequestConflict RequestTimeTooSkewed BadDigest XAmzContentSHA256Mismatch IncompleteBody"
        " ClientDisconnected IDPCommunicationError"
    ),
    StorageFull: (
        "QuotaExceeded QuotaExceededException InsufficientStorage StorageQuotaExceeded BucketQuotaExceeded"
        " UserQuotaExceeded XMinioStorageFull XMinioAdminBucketQuotaExceeded"
    ),
}
_CLASS_OF_CODE = class_of_code(_CODES)

_HINTS = {
    "NoSuchBucket": _BUCKET,
    "NoSuchBucketPolicy": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "IncorrectEndpoint": _REGION,
    "AccessDenied": _PERMISSIONS,
    "InvalidObjectState": "The object is in an archive class: restore it with the provider's tools first.",
    "RequestTimeTooSkewed": _CLOCK,
    "ExpiredToken": "The session token has expired: renew AWS_SESSION_TOKEN, or use AWS_ROLE_ARN.",
    "InvalidAccessKeyId": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY and the clock of this machine.",
    "InvalidStorageClass": "Check S3_STORAGE_CLASS.",
    "ObjectLockConfigurationNotFoundError": "The bucket has no object lock: unset S3_RETENTION_PERIOD.",
}

_TRANSIENT_SDK = (
    sdk.HTTPClientError,  # ConnectionClosedError, ReadTimeoutError, ResponseStreamingError
    sdk.ConnectionError,  # EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError
    sdk.IncompleteReadError,
    sdk.ChecksumError,
    sdk.FlexibleChecksumError,
    sdk.AwsChunkedWrapperError,
    sdk.CapacityNotAvailableError,
)
_CREDENTIAL_SDK = (
    sdk.NoCredentialsError,
    sdk.PartialCredentialsError,
    sdk.CredentialRetrievalError,
    sdk.MetadataRetrievalError,
    sdk.UnknownCredentialError,
    sdk.RefreshWithMFAUnsupportedError,
    sdk.NoAuthTokenError,
    sdk.TokenRetrievalError,
    sdk.UnknownTokenProviderError,
    sdk.SSOError,
    sdk.LoginError,
)
_SETTING_SDK = (
    sdk.ProfileNotFound,
    sdk.ConfigParseError,
    sdk.ConfigNotFound,
    sdk.InvalidConfigError,
    sdk.InvalidRegionError,
    sdk.InvalidIMDSEndpointError,
    sdk.InvalidIMDSEndpointModeError,
    sdk.InvalidDefaultsMode,
    sdk.InvalidProxiesConfigError,
    sdk.InvalidRetryConfigurationError,
    sdk.InvalidS3AddressingStyleError,
    sdk.InvalidS3UsEast1RegionalEndpointConfigError,
    sdk.InvalidSTSRegionalEndpointsConfigError,
    sdk.InvalidEndpointConfigurationError,
    sdk.InvalidEndpointDiscoveryConfigurationError,
    sdk.InvalidChecksumConfigError,
    sdk.InvalidDNSNameError,
    sdk.InvalidHostLabelError,
    sdk.BaseEndpointResolverError,
    sdk.EndpointProviderError,
    sdk.UnknownRegionError,
    sdk.UnsupportedS3ConfigurationError,
    sdk.UnsupportedS3ArnError,
    sdk.UnsupportedS3AccesspointConfigurationError,
    sdk.MissingDependencyException,
)
# A wrong call, or a part of the SDK that walpy does not use: a fault of walpy, which no repetition cures.
_MISUSE_SDK = (
    sdk.DataNotFoundError,
    sdk.ApiVersionNotFoundError,
    sdk.UnknownSignatureVersionError,
    sdk.UnsupportedSignatureVersionError,
    sdk.ServiceNotInRegionError,
    sdk.MissingParametersError,
    sdk.ValidationError,
    sdk.ParamValidationError,
    sdk.AliasConflictParameterError,
    sdk.UnknownServiceStyle,
    sdk.PaginationError,
    sdk.OperationNotPageableError,
    sdk.UnseekableStreamError,
    sdk.WaiterError,
    sdk.WaiterConfigError,
    sdk.InvalidExpressionError,
    sdk.UnknownClientMethodError,
    sdk.UnsupportedS3ControlArnError,
    sdk.UnsupportedS3ControlConfigurationError,
    sdk.UnsupportedOutpostResourceError,
    sdk.StubResponseError,
    sdk.MD5UnavailableError,
    sdk.UndefinedModelAttributeError,
    sdk.UnsupportedServiceProtocolsError,
)
# Groups in the order in which they are asked.
SDK_CLASSES: tuple[tuple[tuple[type[Exception], ...], type[WalpyError]], ...] = (
    (_TRANSIENT_SDK, StorageUnavailable),
    (_CREDENTIAL_SDK, AccessDenied),
    (_SETTING_SDK, ConfigError),
    (_MISUSE_SDK, StorageError),
)

# For errors whose code or class in the SDK has no hint of its own.
_HINTS_OF_CLASS: dict[type[WalpyError], str] = {
    AccessDenied: _PERMISSIONS,
    StorageThrottled: SLOW_DOWN,
    StorageUnavailable: HEALTH,
    StorageFull: "Free space in the storage, or raise the quota.",
}

_REASONS: dict[type[WalpyError], str] = {
    **REASONS,
    ObjectMissing: "no such object",
    ConfigError: "the S3 settings do not fit together",
}


def code_of(error: ClientError) -> str:
    """Error code of a server's answer: `NoSuchKey`; the status as text when the answer had no code (HEAD)."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """HTTP status of a server's answer; 0 when the SDK did not note it."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def class_of_answer(code: str, status: int) -> type[WalpyError]:
    """Class of error for a server's answer: by its code, and by its HTTP status when the code is unknown.

    A bare 404 is no proof that an object is missing (a wrong endpoint answers so as well): StorageError.
    """
    if code in _CLASS_OF_CODE:
        return _CLASS_OF_CODE[code]
    if status in (401, 403):
        return AccessDenied
    if status in (429, 503):
        return StorageThrottled
    if status == 507:
        return StorageFull
    if status in (408, 409, 499) or (status >= 500 and status not in (501, 505)):
        return StorageUnavailable
    return StorageError


def error_of_answer(code: str, status: int, what: str) -> WalpyError:
    """The error for a server's answer; what: `cannot read 's3://bucket/key'`."""
    kind = class_of_answer(code, status)
    reason = _REASONS.get(kind, "the server refused")
    hint = _HINTS.get(code) or (_BUCKET if status == 404 else _HINTS_OF_CLASS.get(kind, ""))
    if code == "NoSuchBucket":
        reason = "the bucket does not exist"
    return kind(f"{what}: {reason} ({code or status})", hint)


def walpy_error(error: Exception, what: str) -> WalpyError:
    """The error for anything in SDK_ERRORS; what: `cannot read 's3://bucket/key'`.

    The caller raises it from the SDK's error. An error of walpy's own that the SDK has wrapped (a signal arrives while
    it waits for an answer) comes back as it was.
    """
    if isinstance(error, ClientError):
        return error_of_answer(code_of(error), status_of(error), what)
    inner = getattr(error, "kwargs", {}).get("error")
    if isinstance(inner, WalpyError):
        return inner
    if _is_certificate_trouble(error, inner):
        return StorageError(f"{what}: the server's certificate is not trusted", _CERTIFICATE)
    kind = next((kind for classes, kind in SDK_CLASSES if isinstance(error, classes)), None)
    if kind is None:
        kind = StorageUnavailable if isinstance(error, (HTTPError, OSError)) else StorageError
    return kind(f"{what}: {_reason(error, kind)}", _hint(error, kind))


def _hint(error: Exception, kind: type[WalpyError]) -> str:
    if kind is AccessDenied:
        return _CREDENTIALS
    if isinstance(error, (sdk.EndpointConnectionError, sdk.ConnectTimeoutError)):
        return _NETWORK
    return _HINTS_OF_CLASS.get(kind, "")


def _reason(error: Exception, kind: type[WalpyError]) -> str:
    if isinstance(error, sdk.ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, sdk.ReadTimeoutError) or _is_sending_stalled(error):
        return "no answer in time"
    return _REASONS.get(kind, "the request could not be made")


def _is_sending_stalled(error: Exception) -> bool:
    """Whether a server took no more of a body: the SDK tells that as a connection that was closed."""
    inner = getattr(error, "kwargs", {}).get("error")
    return any(isinstance(reason, TimeoutError) for reason in getattr(inner, "args", ()))


def _is_certificate_trouble(error: Exception, inner: object) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in f"{error}{inner}"
