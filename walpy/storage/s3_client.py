"""One bucket behind one client: credentials, region, endpoint, and how every request is made.

botocore is used without boto3, whose additions (s3transfer, resources) walpy does not need: 80 ms less at the start.
Its retries are off (RetryPolicy repeats), and it adds no checksums of its own choice, which look-alikes refuse; the
SHA-256 of each body is part of the signature instead, over https as well, so that the server verifies what arrives.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import botocore.session
from botocore.config import Config as SdkConfig
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.credentials import Credentials as SdkCredentials
from botocore.exceptions import ClientError
from botocore.loaders import Loader, create_loader

from walpy import __version__
from walpy.errors import AccessDenied, ConfigError
from walpy.storage.parts import ASK_FIRST_SIZE, PartBody, content_md5
from walpy.storage.s3_errors import SDK_ERRORS, walpy_error

if TYPE_CHECKING:
    from threading import Event

    from botocore.session import Session
    from mypy_boto3_s3.client import S3Client

    from walpy.storage.retry import RetryPolicy
    from walpy.storage.s3_settings import Credentials, S3Settings

T = TypeVar("T")

FALLBACK_REGION = "us-east-1"  # for look-alikes, and where any bucket's location can be asked for
LARGEST_POOL = 32  # connections kept open
WEB_IDENTITY = "assume-role-with-web-identity"  # botocore's name for a role given by a token file (IRSA)

logger = logging.getLogger(__name__)


class Bucket:
    """A bucket, its client and the policy under which requests are repeated; safe for threads."""

    def __init__(self, client: "S3Client", name: str, root: str, policy: "RetryPolicy") -> None:
        self.client = client
        self.name = name
        self.policy = policy
        self.root = f"{root}/" if root else ""

    def key(self, name: str) -> str:
        """Key of an object's name."""
        return self.root + name

    def folder_key(self, folder: str) -> str:
        """What the keys of all objects below a folder begin with."""
        return f"{self.root}{folder}/" if folder else self.root

    def url(self, key: str = "") -> str:
        """An object, or the bucket, for messages."""
        return f"s3://{self.name}/{key}"

    def call(
        self,
        action: str,
        key: str,
        function: Callable[[], T],
        *,
        cancel: "Event | None" = None,
        policy: "RetryPolicy | None" = None,
    ) -> T:
        """Result of function, repeated while it fails for a passing reason; every SDK error becomes one of walpy's.

        action: a verb for messages: `read`. policy: another than the bucket's.
        """

        def attempt() -> T:
            try:
                return function()
            except SDK_ERRORS as error:
                raise walpy_error(error, f"cannot {action} {self.url(key)!r}") from error

        return (policy or self.policy).call(attempt, what=action, cancel=cancel)


def connect(settings: "S3Settings", policy: "RetryPolicy") -> Bucket:
    """Make the client of a configured bucket; asks Amazon for the bucket's region when none is set."""
    quiet_the_sdk(log_requests=settings.log_requests)
    try:
        session = sdk_session(settings.credentials)
        credentials = _credentials(session, settings, policy)
        if credentials is not None:
            provider = _FixedProvider(credentials)
            session.register_component("credential_provider", CredentialResolver([provider]))
        region = settings.endpoint.region or FALLBACK_REGION
        bucket = Bucket(_client(session, settings, policy, region), settings.bucket, settings.root, policy)
        if settings.endpoint.region or not settings.endpoint.is_aws:
            return bucket
        region = detect_region(bucket)
        if region == FALLBACK_REGION:
            return bucket
        return Bucket(_client(session, settings, policy, region), settings.bucket, settings.root, policy)
    except SDK_ERRORS as error:
        raise walpy_error(error, f"cannot set up access to 's3://{settings.bucket}'") from error
    except ValueError as error:  # botocore's word for a malformed endpoint
        raise ConfigError(f"cannot set up access to 's3://{settings.bucket}': {error}") from error


def detect_region(bucket: Bucket) -> str:
    """Region of a bucket, as Amazon tells it.

    GetBucketLocation needs a permission of its own; the answer to HeadBucket names the region even when it refuses.
    """
    client = bucket.client
    try:
        location = bucket.call("ask for the region of", "", lambda: client.get_bucket_location(Bucket=bucket.name))
        region = str(location.get("LocationConstraint") or FALLBACK_REGION)
        return "eu-west-1" if region == "EU" else region  # Amazon's name of 2006
    except AccessDenied as denied:
        region = bucket.call("ask for the region of", "", lambda: _region_header(bucket))
        if region:
            return region
        raise AccessDenied(
            f"AWS region isn't configured explicitly: detect region: {denied}",
            "Set AWS_REGION, or grant s3:GetBucketLocation.",
        ) from denied


def _region_header(bucket: Bucket) -> str:
    try:
        answer: Any = bucket.client.head_bucket(Bucket=bucket.name)
    except ClientError as error:
        answer = error.response
    return str(answer["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))


def quiet_the_sdk(*, log_requests: bool = False) -> None:
    """Keep secrets out of the logs."""
    # botocore's debug lines show headers and parameters, secrets among them; urllib3's show method, path and status.
    quiet = max(logging.WARNING, logging.getLogger().level)
    logging.getLogger("botocore").setLevel(quiet)
    logging.getLogger("urllib3").setLevel(logging.DEBUG if log_requests else quiet)


@cache
def _service_descriptions() -> Loader:
    """The SDK's data files: parsing them takes 100 ms, once for all storages of a process."""
    return create_loader()


def sdk_session(credentials: "Credentials") -> "Session":
    """A session of the SDK, with the files and the profile that the settings name."""
    session = botocore.session.Session()
    session.register_component("data_loader", _service_descriptions())
    for name, value in credentials.sdk_variables:
        session.set_config_variable(name, value)
    return session


class _FixedProvider(CredentialProvider):
    """Hands out the credentials that the settings name."""

    METHOD = "walpy"

    def __init__(self, credentials: SdkCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> SdkCredentials:
        """The credentials."""
        return self._credentials


def _credentials(session: "Session", settings: "S3Settings", policy: "RetryPolicy") -> SdkCredentials | None:
    """What the settings ask for; None: whatever the SDK's default chain finds."""
    wanted = settings.credentials
    static = wanted.access_key and not wanted.yandex_token
    source: Any = None
    if static:
        source = SdkCredentials(wanted.access_key, wanted.secret_key, wanted.session_token or None, "walpy")
    if not wanted.role_arn:
        return source  # type: ignore[no-any-return]
    source = source or session.get_credentials()
    if source is None:
        raise AccessDenied(
            f"cannot assume role {wanted.role_arn!r}: no credentials to assume it with",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role.",
        )
    if source.method == WEB_IDENTITY:
        logger.debug("the SDK assumes %s by web identity", wanted.role_arn)
        return source  # type: ignore[no-any-return]
    return _assumed_role(session, settings, policy, source)


def _assumed_role(
    session: "Session", settings: "S3Settings", policy: "RetryPolicy", source: SdkCredentials
) -> DeferredRefreshableCredentials:
    """Credentials of AWS_ROLE_ARN, fetched at the first request and again before they expire."""
    wanted = settings.credentials

    def create_client(service: str, **keys: Any) -> Any:
        client: Any = session.create_client  # typed by service name, and this one's is a variable
        return client(
            service,
            region_name=settings.endpoint.region or FALLBACK_REGION,
            endpoint_url=wanted.sts_endpoint or None,
            config=sdk_config(policy),
            **keys,
        )

    name = wanted.role_session_name
    fetcher = AssumeRoleCredentialFetcher(
        create_client, source, wanted.role_arn, extra_args={"RoleSessionName": name} if name else {}
    )
    return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")


def sdk_config(policy: "RetryPolicy", **options: Any) -> SdkConfig:
    """How any client of the SDK makes requests: once, since policy repeats, with its time-outs."""
    return SdkConfig(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=policy.connect_timeout,
        read_timeout=policy.read_timeout,
        tcp_keepalive=True,
        user_agent_extra=f"walpy/{__version__}",
        **options,
    )


def _client(session: "Session", settings: "S3Settings", policy: "RetryPolicy", region: str) -> "S3Client":
    endpoint = settings.endpoint
    config = sdk_config(
        policy,
        signature_version="s3v4",
        max_pool_connections=LARGEST_POOL,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        use_dualstack_endpoint=endpoint.dual_stack and not endpoint.url,
        s3={"addressing_style": "path" if endpoint.path_style else "virtual", "payload_signing_enabled": True},
    )
    client: Any = session.create_client(
        "s3", region_name=region, endpoint_url=endpoint.url or None, verify=endpoint.ca_file or None, config=config
    )
    _adapt_requests(client.meta.events, settings)
    return client  # type: ignore[no-any-return]


def _adapt_requests(events: Any, settings: "S3Settings") -> None:
    endpoint = settings.endpoint

    def add_headers(request: Any, **_: object) -> None:
        for name, value in endpoint.headers:
            if name not in request.headers:
                request.headers[name] = value

    def limit_expect(params: Any, **_: object) -> None:
        # The SDK lets every upload wait for the server's consent; for a small body that costs a round trip.
        body = params.get("body")
        if not (endpoint.expect_continue and isinstance(body, PartBody) and len(body) >= ASK_FIRST_SIZE):
            params["headers"].pop("Expect", None)

    events.register_last("before-call.s3", limit_expect)
    if endpoint.headers:
        events.register("before-sign.s3", add_headers)
    if settings.credentials.yandex_token:
        events.register("before-send.s3", _copy_token_for_yandex)
    events.register_last("before-sign.s3.DeleteObjects", _send_md5)


def _copy_token_for_yandex(request: Any, **_: object) -> None:
    token = request.headers.get("X-Amz-Security-Token")
    if token:
        request.headers["X-YaCloud-SubjectToken"] = token


def _send_md5(request: Any, **_: object) -> None:
    """Put Content-MD5, which every server knows, in place of the newer checksum headers.

    S3 wants a checksum of DeleteObjects; older look-alikes (and MinIO before 2023) accept none but this.
    """
    for name in [
        name for name in request.headers if name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum"))
    ]:
        del request.headers[name]
    request.headers["Content-MD5"] = content_md5(request.body)


def shorter(policy: "RetryPolicy", deadline_seconds: float) -> "RetryPolicy":
    """A policy that gives up earlier, for clean-up after another failure."""
    return policy._replace(deadline=min(policy.deadline, deadline_seconds))
