"""The S3 settings of a configuration, checked, with WAL-G's names, defaults and rules."""

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from walpy.errors import ConfigError
from walpy.storage.base import join

if TYPE_CHECKING:
    from walpy.config import Config

MIB = 1 << 20
SMALLEST_PART = 5 * MIB  # S3's limit for every part but the last
LARGEST_PART = 5 << 30  # S3's limit
DEFAULT_PARTS_IN_FLIGHT = 4  # WAL-G's 16 would hold 320 MiB a put, and fill no line that four do not
DEFAULT_PART_SIZE = 8 * MIB  # the SDK's own; WAL-G's 20 MiB would hold 80 MiB for each worker of a backup
LARGEST_DELETE = 1000  # keys; S3's limit for one DeleteObjects
VERSIONING = {"": None, "enabled": True, "disabled": False}

logger = logging.getLogger(__name__)


class Credentials(NamedTuple):
    """Where access comes from: static keys when both are given, the SDK's default chain otherwise, a role on top."""

    access_key: str = ""
    secret_key: str = ""
    session_token: str = ""
    role_arn: str = ""
    role_session_name: str = ""
    sts_endpoint: str = ""
    yandex_token: bool = False
    # Files and profile of the default chain, when they come from elsewhere than the environment.
    sdk_variables: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Credentials(role_arn={self.role_arn!r})"  # without what is secret


class Endpoint(NamedTuple):
    """How the server is reached. url: with scheme, empty for AWS; region: empty when it must be found out."""

    url: str = ""
    region: str = ""
    path_style: bool = False
    dual_stack: bool = False
    ca_file: str = ""
    headers: tuple[tuple[str, str], ...] = ()  # may carry a token
    expect_continue: bool = True

    @property
    def is_aws(self) -> bool:
        """Whether Amazon answers there."""
        return not self.url or (urlsplit(self.url).hostname or "").endswith(".amazonaws.com")

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r}, region={self.region!r}, path_style={self.path_style!r})"


class Writing(NamedTuple):
    """How objects are stored. retention_seconds: None without object lock; sse_c_key: 32 bytes, or empty.

    whole_size: bytes of the largest object that is stored by one request, of which a WAL segment is one.
    """

    storage_class: str = "STANDARD"
    sse: str = ""
    sse_kms_id: str = ""
    sse_c_key: str = ""
    retention_seconds: int | None = None
    retention_mode: str = "GOVERNANCE"
    whole_size: int = 20 * MIB
    part_size: int = DEFAULT_PART_SIZE
    parts_in_flight: int = DEFAULT_PARTS_IN_FLIGHT

    def __repr__(self) -> str:
        return f"Writing(storage_class={self.storage_class!r}, sse={self.sse!r}, part_size={self.part_size!r})"

    def object_parameters(self) -> dict[str, Any]:
        """Parameters of PutObject and CreateMultipartUpload."""
        parameters: dict[str, Any] = {"StorageClass": self.storage_class, **self.key_parameters()}
        if self.sse and not self.sse_c_key:
            parameters["ServerSideEncryption"] = self.sse
        if self.sse_kms_id:
            parameters["SSEKMSKeyId"] = self.sse_kms_id
        if self.retention_seconds is not None:
            parameters["ObjectLockMode"] = self.retention_mode
            parameters["ObjectLockRetainUntilDate"] = datetime.now(UTC) + timedelta(seconds=self.retention_seconds)
        return parameters

    def key_parameters(self) -> dict[str, str]:
        """Parameters of every request that touches an object's bytes: the customer's key, when there is one."""
        if not self.sse_c_key:
            return {}
        return {"SSECustomerAlgorithm": self.sse, "SSECustomerKey": self.sse_c_key}


class S3Settings(NamedTuple):
    """All of them. root: the folder below which every key lies, without slashes at its ends; empty: the bucket."""

    bucket: str
    root: str
    endpoint: Endpoint = Endpoint()
    credentials: Credentials = Credentials()
    writing: Writing = Writing()
    list_v1: bool = False
    delete_batch: int = LARGEST_DELETE
    versioned: bool | None = None  # None: ask the bucket
    validate: bool = False
    log_requests: bool = False


def read_settings(config: "Config") -> S3Settings:
    """Read and check the S3 settings. Raises ConfigError for a value, or a combination, that makes no sense."""
    bucket, root = parse_prefix(config.prefix())
    endpoint = _read_endpoint(config)
    if config.storage_text("S3_ENDPOINT_SOURCE"):
        logger.warning("S3_ENDPOINT_SOURCE is not supported: requests go to AWS_ENDPOINT, as when no source answers")
    batch = config.storage_integer("S3_DELETE_BATCH_SIZE")
    return S3Settings(
        bucket=bucket,
        root=join(root, config.storage_prefix()),
        endpoint=endpoint,
        credentials=read_credentials(config),
        writing=_read_writing(config, endpoint),
        list_v1=config.storage_boolean("S3_USE_LIST_OBJECTS_V1"),
        delete_batch=batch if 0 < batch < LARGEST_DELETE else LARGEST_DELETE,
        versioned=_read_versioning(config),
        validate=not config.storage_boolean("S3_SKIP_VALIDATION"),
        log_requests=config.storage_text("S3_LOG_LEVEL") == "DEVEL",
    )


def parse_prefix(prefix: str) -> tuple[str, str]:
    """Bucket and root folder of `s3://bucket/path`; percent codes are decoded.

    Doubled slashes and `.` parts are dropped: WAL-G's uploads end there as well (its listings do not, a bug).
    """
    url = urlsplit(prefix)
    if not url.scheme or not url.netloc:
        raise ConfigError(
            f'missing url scheme="{url.scheme}" and/or host="{url.netloc}" in the S3 prefix {prefix!r}',
            "Write it as s3://bucket/path.",
        )
    parts = [part for part in unquote(url.path).split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ConfigError(f"the S3 prefix {prefix!r} must not contain '..'")
    return url.netloc, "/".join(parts)


def _read_endpoint(config: "Config") -> Endpoint:
    url = config.storage_text("AWS_ENDPOINT").rstrip("/")
    if url and "://" not in url:
        url = f"https://{url}"
    if "@" in url:
        raise ConfigError("AWS_ENDPOINT must not contain a user name or password")
    return Endpoint(
        url=url,
        region=config.storage_text("AWS_REGION"),
        path_style=config.storage_boolean("AWS_S3_FORCE_PATH_STYLE"),
        dual_stack=config.storage_boolean("AWS_DUAL_STACK"),
        ca_file=_read_ca_file(config),
        headers=_read_headers(config),
        expect_continue=not config.storage_boolean("S3_DISABLE_100_CONTINUE"),
    )


def _read_ca_file(config: "Config") -> str:
    path = config.storage_text("S3_CA_CERT_FILE")
    if path:
        import ssl  # costs 8 ms, which a plain connection does not need

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except OSError as error:  # ssl.SSLError is one
            key = config.storage_key("S3_CA_CERT_FILE")
            raise ConfigError(f"{key}: cannot use {path!r} as a bundle of certificates: {error}") from error
    return path


def _read_headers(config: "Config") -> tuple[tuple[str, str], ...]:
    text = config.storage_text("S3_REQUEST_ADDITIONAL_HEADERS")
    if not text:
        return ()
    import yaml  # costs 15 ms, and few need it

    key = config.storage_key("S3_REQUEST_ADDITIONAL_HEADERS")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise config.invalid(key, "expected YAML") from error
    headers: list[tuple[str, str]] = []
    for mapping in document if isinstance(document, list) else [document]:
        if not isinstance(mapping, dict) or not all(isinstance(item, str) for pair in mapping.items() for item in pair):
            raise config.invalid(key, "expected a map, or a list of maps, of header names to strings")
        headers.extend(mapping.items())
    return tuple(headers)


def read_credentials(config: "Config") -> Credentials:
    """Where access to Amazon's services comes from. Raises ConfigError for one half of a pair of keys."""
    access_key = (config.storage_text("AWS_ACCESS_KEY_ID") or config.storage_text("AWS_ACCESS_KEY")).strip()
    secret_key = (config.storage_text("AWS_SECRET_ACCESS_KEY") or config.storage_text("AWS_SECRET_KEY")).strip()
    if bool(access_key) != bool(secret_key):
        given, missing = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")[:: 1 if access_key else -1]
        raise ConfigError(f"{given} is set and {missing} is not", "Set both, or none to use the SDK's default chain.")
    names = {
        "profile": "AWS_PROFILE",
        "credentials_file": "AWS_SHARED_CREDENTIALS_FILE",
        "config_file": "AWS_CONFIG_FILE",
        "ca_bundle": "AWS_CA_BUNDLE",
    }
    return Credentials(
        access_key=access_key,
        secret_key=secret_key,
        session_token=config.storage_text("AWS_SESSION_TOKEN").strip(),
        role_arn=config.storage_text("AWS_ROLE_ARN"),
        role_session_name=config.storage_text("AWS_ROLE_SESSION_NAME"),
        sts_endpoint=config.text("AWS_ENDPOINT_URL_STS"),
        yandex_token=config.storage_boolean("S3_USE_YC_SESSION_TOKEN"),
        sdk_variables=tuple((name, config.text(key)) for name, key in names.items() if config.is_set(key)),
    )


def _read_writing(config: "Config", endpoint: Endpoint) -> Writing:
    sse, kms_id, customer_key = (config.storage_text(name) for name in ("S3_SSE", "S3_SSE_KMS_ID", "S3_SSE_C"))
    _check_encryption(sse, kms_id, customer_key, endpoint)
    retention = config.storage_integer("S3_RETENTION_PERIOD")
    size_key = config.storage_key("S3_MAX_PART_SIZE")
    whole_size = config.storage_integer("S3_MAX_PART_SIZE", minimum=SMALLEST_PART)
    if whole_size > LARGEST_PART:
        raise config.invalid(size_key, f"S3 allows at most {LARGEST_PART} bytes")
    in_flight = config.storage_integer("UPLOAD_CONCURRENCY", minimum=1)
    chosen = config.is_set(config.storage_key("UPLOAD_CONCURRENCY"))
    return Writing(
        storage_class=config.storage_text("S3_STORAGE_CLASS"),
        sse=sse,
        sse_kms_id=kms_id,
        sse_c_key=customer_key if sse else "",
        retention_seconds=retention if retention >= 0 else None,
        retention_mode=config.storage_text("S3_RETENTION_MODE"),
        whole_size=whole_size,
        part_size=whole_size if config.is_set(size_key) else DEFAULT_PART_SIZE,
        parts_in_flight=in_flight if chosen else min(in_flight, DEFAULT_PARTS_IN_FLIGHT),
    )


def _check_encryption(sse: str, kms_id: str, customer_key: str, endpoint: Endpoint) -> None:
    if sse not in ("", "AES256", "aws:kms"):
        raise ConfigError(f"S3_SSE has the wrong value {sse!r}: expected AES256 or aws:kms")
    if (sse == "aws:kms") != bool(kms_id):
        raise ConfigError("S3_SSE_KMS_ID must be set if, and only if, S3_SSE is aws:kms")
    if not sse or not customer_key:
        return
    if sse != "AES256":
        raise ConfigError("S3_SSE_C needs S3_SSE=AES256")
    if len(customer_key.encode()) != 32:
        raise ConfigError("S3_SSE_C must be a key of exactly 32 characters, not encoded in any way")
    if endpoint.url.startswith("http://"):
        raise ConfigError("cannot send SSE keys over HTTP", "Use an https:// AWS_ENDPOINT with S3_SSE_C.")


def _read_versioning(config: "Config") -> bool | None:
    text = config.storage_text("S3_ENABLE_VERSIONING")
    if text not in VERSIONING:
        raise config.invalid(config.storage_key("S3_ENABLE_VERSIONING"), "expected enabled or disabled")
    return VERSIONING[text]
