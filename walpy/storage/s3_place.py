"""Where the requests go that s3_direct makes, and whether it may make any."""

import os
import re
from collections.abc import Collection
from typing import NamedTuple

from walpy.config import ENDPOINT, PROXY
from walpy.storage.s3_settings import S3Settings
from walpy.storage.s3_wire import Address

SDK_CONFIG = "~/.aws/config"  # may hold another endpoint; as the SDK finds it
DEFAULT_PORTS = {"http": 80, "https": 443}

# Expressions as text: only those that are needed get compiled.
HOST_BUCKET = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"  # one that may stand in a host's name, with https too
PATH_BUCKET = r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}"
ENDPOINT_URL = r"(https?)://([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?"
AMAZON_REGION = r"(us|ca|mx|sa|eu|il|me|af|ap)-[a-z]+-[0-9]"  # of the partition whose hosts end with amazonaws.com
NUMBERS = r"[0-9.]+"  # a host that is an address: buckets cannot be put in front of it


class Place(NamedTuple):
    """A bucket on the wire. host: the header's; path: what precedes a key in a request's path, ends with a slash."""

    address: Address
    host: str
    path: str
    region: str


def find_place(settings: S3Settings, left_to_libraries: Collection[str] = ()) -> Place | None:
    """Where requests go; None when only the SDK knows, or when settings ask for what only the SDK does."""
    endpoint, credentials, writing = settings.endpoint, settings.credentials, settings.writing
    by_others = (
        PROXY in left_to_libraries,
        credentials.role_arn,
        credentials.yandex_token,
        endpoint.headers,
        writing.sse_c_key,
        writing.retention_seconds is not None,
        settings.validate,
        settings.log_requests,
        settings.list_v1,
        endpoint.is_aws and not endpoint.region,
        not (credentials.access_key and credentials.secret_key),
    )
    url = endpoint.url or _amazon(settings, left_to_libraries)
    found = re.fullmatch(ENDPOINT_URL, url)
    if any(by_others) or found is None:
        return None
    scheme, host, port = found[1], found[2], int(found[3] or DEFAULT_PORTS[found[1]])
    bucket = settings.bucket
    if not endpoint.path_style:
        if re.fullmatch(NUMBERS, host) or not re.fullmatch(HOST_BUCKET, bucket):
            return None
        host = f"{bucket}.{host}"
    elif not re.fullmatch(PATH_BUCKET, bucket):
        return None
    ca_file = endpoint.ca_file or dict(credentials.sdk_variables).get("ca_bundle", "")
    address = Address(scheme == "https", host, port, ca_file)
    shown = host if port == DEFAULT_PORTS[scheme] else f"{host}:{port}"
    return Place(address, shown, f"/{bucket}/" if endpoint.path_style else "/", endpoint.region or "us-east-1")


def _amazon(settings: S3Settings, left_to_libraries: Collection[str]) -> str:
    """Amazon's endpoint for the region; empty when the SDK might choose another one."""
    names = {name for name, _ in settings.credentials.sdk_variables}
    is_changed = ENDPOINT in left_to_libraries or settings.endpoint.dual_stack or names - {"ca_bundle"}
    if is_changed or os.path.exists(os.path.expanduser(SDK_CONFIG)):
        return ""
    is_plain = re.fullmatch(AMAZON_REGION, settings.endpoint.region)
    return f"https://s3.{settings.endpoint.region}.amazonaws.com" if is_plain else ""
