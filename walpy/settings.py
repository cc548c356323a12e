"""The table of settings: WAL-G's keys and walpy's own, with type, built-in default and whether the value is a secret.

Storage settings are listed under their bare name (`S3_SSE`, `AWS_REGION`); `WALG_` and `WALE_` before it are aliases.
"""

from collections.abc import Callable
from typing import NamedTuple

from walpy.values import (
    parse_boolean,
    parse_decimal,
    parse_duration,
    parse_integer,
    parse_number,
    parse_size,
    parse_text,
)

STORAGE_ORDER = ("OSS", "S3", "FILE", "GS", "AZ", "SWIFT", "SSH")  # WAL-G's order of looking for the primary
ALIASES = ("", "WALG_", "WALE_")  # of a storage setting, in the order in which they win
OPEN_PREFIXES = ("WALG_", "WALE_", "WALPY_")  # variables of the environment that are taken even when not in the table


class Known(NamedTuple):
    """What is known about one key."""

    parse: Callable[[str], object]
    default: str = ""
    secret: bool = False
    storage: bool = False  # a storage setting: has the WALG_ and WALE_ aliases
    flag: bool = True  # has a command-line flag


def _keys(names: str, known: Known) -> dict[str, Known]:
    return dict.fromkeys(names.split(), known)


_TEXT = Known(parse_text)
_OFF = Known(parse_boolean)
_SECRET = Known(parse_text, secret=True)
_STORAGE_TEXT = Known(parse_text, storage=True)
_STORAGE_SECRET = Known(parse_text, secret=True, storage=True)
_STORAGE_OFF = Known(parse_boolean, storage=True)


def _integer(default: str = "") -> Known:
    return Known(parse_integer, default)


def _duration(default: str = "") -> Known:
    return Known(parse_duration, default)


def _storage_decimal(default: str = "") -> Known:
    return Known(parse_decimal, default, storage=True)


_CORE = {
    **_keys("WALG_S3_PREFIX WALG_GS_PREFIX WALG_FILE_PREFIX WALG_AZ_PREFIX WALG_SWIFT_PREFIX WALG_SSH_PREFIX", _TEXT),
    **_keys("WALG_OSS_PREFIX WALE_S3_PREFIX WALG_STORAGE_PREFIX", _TEXT),
    "WALG_TARGET_STORAGE": Known(parse_text, flag=False),
    "WALG_DOWNLOAD_CONCURRENCY": _integer("10"),
    "WALG_UPLOAD_CONCURRENCY": _integer("16"),
    "WALG_UPLOAD_DISK_CONCURRENCY": _integer(),  # WAL-G: 1; walpy: one for each core
    "WALG_UPLOAD_QUEUE": _integer("2"),
    "WALG_DOWNLOAD_FILE_RETRIES": _integer("15"),
    "TOTAL_BG_UPLOADED_LIMIT": _integer("32"),
    "WALG_DISK_RATE_LIMIT": _integer(),
    "WALG_NETWORK_RATE_LIMIT": _integer(),
    "WALG_TAR_SIZE_THRESHOLD": _integer("1073741823"),
    "WALG_DIRECT_IO_BLOCK_COUNT": _integer("32"),
}

_BACKUP_AND_WAL = {
    **_keys("WALG_TAR_DISABLE_FSYNC WALG_DIRECT_IO WALG_USE_WAL_DELTA WALG_FORCE_WAL_DELTA", _OFF),
    **_keys("WALG_PREVENT_WAL_OVERWRITE WALG_USE_REVERSE_UNPACK WALG_SKIP_REDUNDANT_TARS PG_READY_RENAME", _OFF),
    **_keys("WALG_VERIFY_PAGE_CHECKSUMS WALG_STORE_ALL_CORRUPT_BLOCKS WALG_WITHOUT_FILES_METADATA", _OFF),
    **_keys("WALG_USE_RATING_COMPOSER WALG_USE_COPY_COMPOSER WALG_USE_DATABASE_COMPOSER", _OFF),
    **_keys("WALG_DISABLE_PARTIAL_RESTORE", _OFF),
    **_keys("WALG_DELTA_FROM_NAME WALG_DELTA_FROM_USER_DATA WALG_SENTINEL_USER_DATA", _TEXT),
    **_keys("WALG_FETCH_TARGET_USER_DATA WALG_PREFETCH_DIR WALG_SERIALIZER_TYPE", _TEXT),
    **_keys("WALG_STREAM_CREATE_COMMAND WALG_STREAM_RESTORE_COMMAND", _TEXT),
    "WALG_DELTA_MAX_STEPS": _integer("0"),
    "WALG_DELTA_ORIGIN": Known(parse_text, "LATEST"),
    "WALG_UPLOAD_WAL_METADATA": Known(parse_text, "NOMETADATA"),
    "WALG_INTEGRITY_MAX_DELAYED_WALS": _integer("0"),
    "WALG_SLOTNAME": Known(parse_text, "walg"),
    "WALG_ALIVE_CHECK_INTERVAL": _duration("1m"),
    "WALG_STOP_BACKUP_TIMEOUT": _duration(),
    "WALG_DAEMON_WAL_UPLOAD_TIMEOUT": _duration("60s"),
    "WALG_PG_WAL_SIZE": _integer("16"),  # MiB
    "WALG_PG_WAL_PAGE_SIZE": _integer("8192"),
    "WALG_PG_BLOCK_SIZE": _integer("8192"),
    "PGBACKREST_STANZA": Known(parse_text, "main"),
}

# Key -> libpq's connection keyword.
POSTGRES_KEYWORDS = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGDATABASE": "dbname",
    "PGSSLMODE": "sslmode",
    "PGSSLKEY": "sslkey",
    "PGSSLCERT": "sslcert",
    "PGSSLROOTCERT": "sslrootcert",
    "PGAPPNAME": "application_name",
}

_POSTGRES = {
    **_keys("PGDATA PGPORT PGUSER PGHOST PGPASSFILE PGDATABASE PGSSLMODE PGSSLKEY PGSSLCERT PGSSLROOTCERT", _TEXT),
    "PGPASSWORD": _SECRET,
    "PGAPPNAME": Known(parse_text, "wal-g"),
    "PGSERVICE": Known(parse_text, flag=False),
}

# Any of these asks for encryption; pass phrases and regions alone do not.
ENCRYPTION_KEYS = (
    "WALG_PGP_KEY",
    "WALG_PGP_KEY_PATH",
    "WALG_GPG_KEY_PATH",
    "WALG_GPG_KEY_ID",
    "WALE_GPG_KEY_ID",
    "GPG_KEY_ID",
    "WALG_ENVELOPE_PGP_KEY",
    "WALG_ENVELOPE_PGP_KEY_PATH",
    "WALG_CSE_KMS_ID",
    "YC_CSE_KMS_KEY_ID",
    "WALG_LIBSODIUM_KEY",
    "WALG_LIBSODIUM_KEY_PATH",
)

_CODECS = {
    "WALG_COMPRESSION_METHOD": Known(parse_text, "lz4"),
    "WALG_LIBSODIUM_KEY_TRANSFORM": Known(parse_text, "none"),
    "WALG_ENVELOPE_CACHE_EXPIRATION": _duration("0"),
    "GPG_KEY_ID": Known(parse_text, secret=True, flag=False),
    **_keys("WALG_PGP_KEY WALG_PGP_KEY_PASSPHRASE WALG_GPG_KEY_ID WALE_GPG_KEY_ID WALG_ENVELOPE_PGP_KEY", _SECRET),
    **_keys("WALG_LIBSODIUM_KEY", _SECRET),
    "WALG_GPG_KEY_PATH": Known(parse_text, flag=False),
    **_keys("WALG_ZSTD_LEVEL WALG_PGP_KEY_PATH WALG_ENVELOPE_PGP_KEY_PATH WALG_LIBSODIUM_KEY_PATH", _TEXT),
    **_keys("WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID WALG_ENVELOPE_PGP_YC_SERVICE_ACCOUNT_KEY_FILE", _TEXT),
    **_keys("WALG_ENVELOPE_PGP_YC_ENDPOINT WALG_CSE_KMS_ID WALG_CSE_KMS_REGION", _TEXT),
    **_keys("YC_CSE_KMS_KEY_ID YC_SERVICE_ACCOUNT_KEY_FILE", _TEXT),
}

_FAILOVER = {
    "WALG_FAILOVER_STORAGES": _SECRET,  # nested settings of storages, their keys included
    "WALG_FAILOVER_STORAGES_CHECK": _OFF,
    "WALG_FAILOVER_STORAGES_CHECK_TIMEOUT": _duration("30s"),
    "WALG_FAILOVER_STORAGES_CHECK_SIZE": Known(parse_size, "1mb"),
    "WALG_FAILOVER_STORAGES_CACHE_LIFETIME": _duration("15m"),
    "WALG_FAILOVER_STORAGES_CACHE_EMA_ALIVE_LIMIT": Known(parse_number, "0.99"),
    "WALG_FAILOVER_STORAGES_CACHE_EMA_DEAD_LIMIT": Known(parse_number, "0.88"),
    "WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_ALIVE_MIN": Known(parse_number, "0.01"),
    "WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_ALIVE_MAX": Known(parse_number, "0.05"),
    "WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_DEAD_MIN": Known(parse_number, "0.1"),
    "WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_DEAD_MAX": Known(parse_number, "0.5"),
}

_RUNTIME = {
    "WALG_LOG_LEVEL": Known(parse_text, "NORMAL"),
    "WALG_LOG_DESTINATION": Known(parse_text, "stderr"),
    "PROFILE_SAMPLING_RATIO": Known(parse_number),
    **_keys("HTTP_EXPOSE_PPROF HTTP_EXPOSE_EXPVAR", _OFF),
    **_keys("WALG_STATSD_ADDRESS WALG_STATSD_EXTRA_TAGS PROFILE_MODE PROFILE_PATH HTTP_LISTEN", _TEXT),
    **_keys("GOMAXPROCS GODEBUG", _TEXT),
    "WALG_CONFIG_PATH": Known(parse_text, flag=False),
}

_S3 = {
    **_keys("AWS_ACCESS_KEY_ID AWS_ACCESS_KEY AWS_SECRET_ACCESS_KEY AWS_SECRET_KEY AWS_SESSION_TOKEN", _STORAGE_SECRET),
    **_keys("S3_SSE_C S3_REQUEST_ADDITIONAL_HEADERS", _STORAGE_SECRET),  # headers may carry a token
    **_keys("AWS_ROLE_ARN AWS_ROLE_SESSION_NAME AWS_REGION AWS_ENDPOINT S3_CA_CERT_FILE S3_SSE", _STORAGE_TEXT),
    **_keys("S3_SSE_KMS_ID S3_ENDPOINT_SOURCE S3_ENDPOINT_PROTOCOL S3_ENABLE_VERSIONING S3_LOG_LEVEL", _STORAGE_TEXT),
    **_keys("AWS_S3_FORCE_PATH_STYLE AWS_DUAL_STACK S3_USE_LIST_OBJECTS_V1 S3_RANGE_BATCH_ENABLED", _STORAGE_OFF),
    **_keys("S3_USE_YC_SESSION_TOKEN S3_DISABLE_100_CONTINUE", _STORAGE_OFF),
    **_keys("AWS_DEFAULT_REGION AWS_DEFAULT_OUTPUT AWS_PROFILE AWS_CA_BUNDLE", _TEXT),
    **_keys("AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE", _TEXT),
    "AWS_ENDPOINT_URL_STS": Known(parse_text, flag=False),
    "AWS_ENDPOINT_URL_KMS": Known(parse_text, flag=False),
    "S3_SKIP_VALIDATION": Known(parse_boolean, "true", storage=True),
    "S3_STORAGE_CLASS": Known(parse_text, "STANDARD", storage=True),
    "S3_ENDPOINT_PORT": Known(parse_text, "443", storage=True),
    "S3_RETENTION_MODE": Known(parse_text, "GOVERNANCE", storage=True),
    "S3_MAX_PART_SIZE": _storage_decimal("20971520"),
    "UPLOAD_CONCURRENCY": _storage_decimal("16"),
    "S3_MAX_RETRIES": _storage_decimal("15"),
    "S3_MIN_THROTTLING_RETRY_DELAY": _storage_decimal("500"),  # milliseconds
    "S3_MAX_THROTTLING_RETRY_DELAY": _storage_decimal("300000"),  # milliseconds
    "S3_RANGE_MAX_RETRIES": _storage_decimal("10"),
    "S3_RETENTION_PERIOD": _storage_decimal("-1"),  # seconds; negative: off
    "S3_DELETE_BATCH_SIZE": _storage_decimal("1000"),
}

_GCS = {
    "GCS_CONTEXT_TIMEOUT": _storage_decimal("3600"),  # seconds
    "GCS_NORMALIZE_PREFIX": Known(parse_boolean, "true", storage=True),
    "GCS_ENCRYPTION_KEY": _STORAGE_SECRET,
    "GCS_MAX_CHUNK_SIZE": _storage_decimal("52428800"),
    "GCS_MAX_RETRIES": _storage_decimal("16"),
    "GOOGLE_APPLICATION_CREDENTIALS": _SECRET,
    "STORAGE_EMULATOR_HOST": Known(parse_text, flag=False),
}

_AZURE = {
    **_keys("AZURE_STORAGE_ACCESS_KEY AZURE_STORAGE_SAS_TOKEN", _STORAGE_SECRET),
    **_keys("AZURE_STORAGE_ACCOUNT AZURE_ENDPOINT_SUFFIX AZURE_BLOB_STORE_API_VERSION", _STORAGE_TEXT),
    "AZURE_ENVIRONMENT_NAME": Known(parse_text, "AzurePublicCloud", storage=True),
    "AZURE_BUFFER_SIZE": _storage_decimal("8388608"),
    "AZURE_MAX_BUFFERS": _storage_decimal("4"),
    "AZURE_TRY_TIMEOUT": _storage_decimal("5"),  # minutes
    "WALPY_AZURE_ENDPOINT": _STORAGE_TEXT,
}

_OTHER_STORAGES = {
    **_keys("OS_PASSWORD SSH_PASSWORD", _STORAGE_SECRET),
    **_keys("OSS_ACCESS_KEY_ID OSS_ACCESS_KEY_SECRET OSS_SESSION_TOKEN", _STORAGE_SECRET),
    **_keys("OS_AUTH_URL OS_USERNAME OS_TENANT_NAME OS_REGION_NAME", _STORAGE_TEXT),
    **_keys("SSH_USERNAME SSH_PRIVATE_KEY_PATH OSS_ENDPOINT OSS_REGION OSS_ROLE_ARN", _STORAGE_TEXT),
    **_keys("OSS_ROLE_SESSION_NAME OSS_UPLOAD_PART_SIZE OSS_COPY_PART_SIZE", _STORAGE_TEXT),
    "SSH_PORT": _storage_decimal("22"),
    "OSS_SKIP_VALIDATION": _STORAGE_OFF,
    "OSS_MAX_RETRIES": _storage_decimal("5"),
    "OSS_CONNECT_TIMEOUT": _storage_decimal("5"),
}

_WALPY = {
    "WALPY_AGENT": Known(parse_text, "auto"),
    "WALPY_STORAGE_DEADLINE": _duration("5m"),
    "WALPY_CONNECT_TIMEOUT": _duration("10s"),
    "WALPY_READ_TIMEOUT": _duration("60s"),
    "WALPY_SYSTEM_ID_CHECK": Known(parse_text, "strict"),
    "WALPY_SSH_FSYNC": Known(parse_boolean, "true"),
    "WALPY_SSH_HOST_KEY_CHECK": Known(parse_text, "strict"),
    "WALPY_SSH_KEY_PASSPHRASE": _SECRET,
    "WALPY_SSH_KNOWN_HOSTS": _TEXT,
    "WALPY_WAL_WAIT_TIMEOUT": _duration("1h"),
    "WALPY_DELTA_IGNORE_MTIME": _OFF,
    "WALPY_REQUIRE_ENCRYPTION": _OFF,
    "WALPY_YC_KMS_ENDPOINT": Known(parse_text, "https://kms.yandex"),
    "WALPY_YC_IAM_ENDPOINT": Known(parse_text, "https://iam.api.cloud.yandex.net"),
    "WALPY_YC_METADATA_ENDPOINT": Known(parse_text, "http://169.254.169.254"),
}

KNOWN: dict[str, Known] = {
    **_CORE,
    **_BACKUP_AND_WAL,
    **_POSTGRES,
    **_CODECS,
    **_FAILOVER,
    **_RUNTIME,
    **_S3,
    **_GCS,
    **_AZURE,
    **_OTHER_STORAGES,
    **_WALPY,
}

# The aliases that WAL-G lists: they have a flag of their own.
_ALIASES_WITH_FLAG = (
    "WALG_S3_CA_CERT_FILE WALG_S3_STORAGE_CLASS WALG_S3_SSE WALG_S3_SSE_C WALG_S3_SSE_KMS_ID WALG_S3_MAX_PART_SIZE"
    " WALG_S3_ENDPOINT_SOURCE WALG_S3_ENDPOINT_PORT WALG_S3_USE_LIST_OBJECTS_V1 WALG_S3_LOG_LEVEL"
    " WALG_S3_RANGE_BATCH_ENABLED WALG_S3_RANGE_MAX_RETRIES WALG_S3_MAX_RETRIES WALG_AZURE_BUFFER_SIZE"
    " WALG_AZURE_MAX_BUFFERS"
)
ALIASES_WITH_FLAG = frozenset(_ALIASES_WITH_FLAG.split())

# What walpy takes without a murmur and does not act on: other storages, Go's runtime, WAL-G's profiler, and knobs of
# commands or algorithms that walpy does not have.
_IGNORED_FAMILIES = (
    "OS_",
    "OSS_",
    "WALG_STATSD_",
    "PROFILE_",
    "HTTP_",
    "GOMAX",
    "GODEBUG",
)
_IGNORED_KEYS = (
    "WALG_DIRECT_IO WALG_DIRECT_IO_BLOCK_COUNT WALG_SERIALIZER_TYPE"
    " WALG_STREAM_CREATE_COMMAND WALG_STREAM_RESTORE_COMMAND"
    " WALG_ENVELOPE_PGP_YC_ENDPOINT"
    " S3_ENDPOINT_PORT S3_ENDPOINT_PROTOCOL S3_RANGE_BATCH_ENABLED S3_RANGE_MAX_RETRIES S3_MAX_RETRIES"
    " S3_MIN_THROTTLING_RETRY_DELAY S3_MAX_THROTTLING_RETRY_DELAY AWS_DEFAULT_REGION AWS_DEFAULT_OUTPUT"
)
IGNORED = frozenset(_IGNORED_KEYS.split()).union(key for key in KNOWN if key.startswith(_IGNORED_FAMILIES))

_SECRET_WORDS = ("KEY", "SECRET", "PASSWORD", "PASSPHRASE", "TOKEN", "CREDENTIAL")


def known(key: str) -> Known | None:
    """What is known about a key, aliases included; None for a key that nobody knows."""
    found = KNOWN.get(key)
    if found is None and key.startswith(("WALG_", "WALE_")):
        bare = KNOWN.get(key[5:])
        if bare is not None and bare.storage:
            return bare
        if key.startswith("WALE_") and key.endswith("_PREFIX"):
            return KNOWN.get(f"WALG_{key[5:]}")
    return found


def has_flag(key: str) -> bool:
    """Whether the key has a command-line flag."""
    found = KNOWN.get(key)
    return key in ALIASES_WITH_FLAG or (found is not None and found.flag)


def is_secret(key: str) -> bool:
    """Whether the value must never be shown; an unknown key is judged by its words."""
    found = known(key)
    if found is not None:
        return found.secret
    return any(word in key for word in _SECRET_WORDS) and not key.endswith(("_PATH", "_FILE"))


def is_ignored(key: str) -> bool:
    """Whether walpy knows the key (an alias counts) and does not act on it."""
    return (key[5:] if key[5:] in KNOWN and key not in KNOWN else key) in IGNORED


def flag_of(key: str) -> str:
    """The command-line flag of a key: `--walg-s3-prefix`."""
    return "--" + key.lower().replace("_", "-")


def key_of_flag(flag: str) -> str | None:
    """The key of a flag `--walg-s3-prefix`; None when no setting has this flag."""
    key = flag[2:].upper().replace("-", "_")
    return key if flag == flag_of(key) and has_flag(key) else None
