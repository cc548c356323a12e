"""One container of Azure Blob storage behind one client: settings, credentials, and how every request is made.

The SDK's retries and redirects are off (RetryPolicy repeats), and its time-outs are walpy's.
"""

import binascii
import logging
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import requests
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobClient, ContainerClient, generate_blob_sas
from requests.adapters import HTTPAdapter

from walpy import __version__
from walpy.errors import ConfigError
from walpy.storage.azure_errors import SDK_ERRORS, origin, walpy_error
from walpy.storage.base import READ_SIZE, join
from walpy.storage.retry import Deadline, RetryPolicy

if TYPE_CHECKING:
    from threading import Event

    from walpy.config import Config

T = TypeVar("T")

LARGEST_POOL = 64  # connections kept open
LEAST_BUFFER_SIZE = 1024  # bytes; WAL-G raises what is smaller
LARGEST_BUFFER_SIZE = 4000 << 20  # bytes; Azure's limit for a block
SUFFIXES = {  # of addresses, by AZURE_ENVIRONMENT_NAME; any other name is Azure's public cloud, as in WAL-G
    "AzureUSGovernmentCloud": "core.usgovcloudapi.net",
    "AzureChinaCloud": "core.chinacloudapi.cn",
    "AzureGermanCloud": "core.cloudapi.de",
}
PUBLIC_SUFFIX = "core.windows.net"
IDENTITY_HINT = "Set AZURE_STORAGE_ACCESS_KEY or AZURE_STORAGE_SAS_TOKEN, or: pip install 'walpy-pg[azure]'."


class AzureSettings(NamedTuple):
    """Where objects go and how; no value of it may be shown but endpoint, container and root."""

    endpoint: str  # address of the account's blob service
    container: str
    root: str  # without slashes at its ends
    account: str
    access_key: str
    sas_token: str
    buffer_size: int  # bytes of a block
    buffers: int  # blocks in flight for one object
    api_version: str


def read_settings(config: "Config") -> AzureSettings:
    """The settings of WALG_AZ_PREFIX. Raises ConfigError."""
    url = urlsplit(config.prefix())
    if not url.scheme or not url.netloc:
        raise ConfigError(
            f"WALG_AZ_PREFIX has the wrong value {config.prefix()!r}: "
            f"missing url scheme={url.scheme!r} and/or host={url.netloc!r}",
            "Write it as azure://container/path.",
        )
    account = config.storage_text("AZURE_STORAGE_ACCOUNT")
    if not account:
        raise ConfigError(
            "AZURE_STORAGE_ACCOUNT is not set", "It is the name of the storage account that has the container."
        )
    config.storage_integer("AZURE_TRY_TIMEOUT", minimum=0)  # checked, but RetryPolicy's deadline and time-outs decide
    buffer_size = config.storage_integer("AZURE_BUFFER_SIZE")
    return AzureSettings(
        endpoint=_endpoint(config, account),
        container=url.netloc,
        root=join(unquote(url.path), config.storage_prefix()),
        account=account,
        access_key=_access_key(config),
        sas_token=config.storage_text("AZURE_STORAGE_SAS_TOKEN").strip().lstrip("?"),
        buffer_size=min(max(buffer_size, LEAST_BUFFER_SIZE), LARGEST_BUFFER_SIZE),
        buffers=max(config.storage_integer("AZURE_MAX_BUFFERS"), 1),
        api_version=config.storage_text("AZURE_BLOB_STORE_API_VERSION"),
    )


def _endpoint(config: "Config", account: str) -> str:
    given = config.storage_text("WALPY_AZURE_ENDPOINT")
    if not given:
        environment = config.storage_text("AZURE_ENVIRONMENT_NAME")
        suffix = config.storage_text("AZURE_ENDPOINT_SUFFIX") or SUFFIXES.get(environment, PUBLIC_SUFFIX)
        return f"https://{account}.blob.{suffix}"
    url = urlsplit(given)
    if url.scheme not in ("http", "https") or not url.netloc or url.query:
        raise config.invalid("WALPY_AZURE_ENDPOINT", "not the address of a blob service, as https://host/account")
    return given.rstrip("/")


def _access_key(config: "Config") -> str:
    key = config.storage_text("AZURE_STORAGE_ACCESS_KEY").strip()
    try:
        b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        setting = config.storage_key("AZURE_STORAGE_ACCESS_KEY")
        raise ConfigError(
            f"{setting} has a wrong value ({config.origin(setting)}): not base64",
            "Copy the whole key, with the = signs at its end.",
        ) from None
    return key


class Container:
    """A container, its client and the policy under which requests are repeated; safe for threads.

    page_size: names in an answer to a listing; None: as many as the server gives, which is 5,000.
    """

    def __init__(self, client: ContainerClient, settings: AzureSettings, policy: RetryPolicy) -> None:
        self.client = client
        self.settings = settings
        self.name = settings.container
        self.root = f"{settings.root}/" if settings.root else ""
        self.policy = policy
        self.page_size: int | None = None

    def key(self, name: str) -> str:
        """Name in the container of an object's name."""
        return self.root + name

    def folder_key(self, folder: str) -> str:
        """What the names in the container of all objects below a folder begin with."""
        return f"{self.root}{folder.strip('/')}/" if folder.strip("/") else self.root

    def url(self, key: str = "") -> str:
        """An object, or the container, for messages."""
        return f"azure://{self.name}/{key}"

    def blob(self, key: str) -> BlobClient:
        """Client of one blob."""
        return self.client.get_blob_client(key)

    def signed_url(self, key: str) -> str:
        """Address of a blob that the server itself may read for an hour; empty when an identity gives access."""
        settings = self.settings
        token = settings.sas_token
        if settings.access_key:
            expiry = datetime.now(UTC) + timedelta(hours=1)
            token = generate_blob_sas(
                settings.account, self.name, key, account_key=settings.access_key, permission="r", expiry=expiry
            )
        return f"{self.blob(key).url}?{token}" if token else ""

    def timeouts(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """Parameters of a request that shall not outlast the deadline (or a new one)."""
        connect, read = self.policy.connect_timeout, self.policy.read_timeout
        if self.policy.deadline:  # without one, the only attempt has all its time
            left = deadline or self.policy.start()
            connect, read = left.within(connect), left.within(read)
        return {"connection_timeout": connect, "read_timeout": read}

    def call(
        self,
        action: str,
        key: str,
        function: Callable[[dict[str, Any]], T],
        *,
        cancel: "Event | None" = None,
    ) -> T:
        """Result of function, repeated while it fails for a passing reason; every SDK error becomes one of walpy's.

        action: a verb for messages: `read`. function: makes one attempt, with the parameters of its time-outs.
        """
        deadline = self.policy.start()

        def attempt() -> T:
            try:
                return function(self.timeouts(deadline))
            except SDK_ERRORS as error:
                raise walpy_error(error, f"cannot {action} {self.url(key)!r}") from origin(error)

        return self.policy.call(attempt, what=action, deadline=deadline, cancel=cancel)


def connect(settings: AzureSettings, policy: RetryPolicy) -> Container:
    """Make the client of a configured container; makes no request. Raises ConfigError."""
    _quiet_the_sdk()
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=LARGEST_POOL, max_retries=0))
    timeouts = {"connection_timeout": policy.connect_timeout, "read_timeout": policy.read_timeout}
    version: dict[str, Any] = {"api_version": settings.api_version} if settings.api_version else {}
    try:
        client = ContainerClient(
            settings.endpoint,
            settings.container,
            _credential(settings, timeouts),
            transport=RequestsTransport(session=session, connection_data_block_size=READ_SIZE, **timeouts),
            retry_total=0,
            permit_redirects=False,
            user_agent=f"walpy/{__version__}",
            **version,
        )
    except ValueError as error:  # an unknown version; a token over plain http
        raise ConfigError(
            f"cannot set up access to 'azure://{settings.container}': {' '.join(str(error).split())}"
        ) from error
    return Container(client, settings, policy)


def _credential(settings: AzureSettings, timeouts: dict[str, float]) -> Any:
    """An access key before a token before what Azure's identity library finds, as WAL-G."""
    if settings.access_key:
        return AzureNamedKeyCredential(settings.account, settings.access_key)
    if settings.sas_token:
        return AzureSasCredential(settings.sas_token)
    try:
        identity = import_module("azure.identity")
    except ModuleNotFoundError:
        raise ConfigError("no credentials for Azure, and azure-identity is not installed", IDENTITY_HINT) from None
    return identity.DefaultAzureCredential(retry_total=0, **timeouts)


def _quiet_the_sdk() -> None:
    """Keep one line for each request, and addresses with signatures, out of the logs."""
    for name in ("azure", "urllib3", "msal"):
        logging.getLogger(name).setLevel(logging.ERROR)
