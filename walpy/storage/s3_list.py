"""Listings of a bucket, page by page: objects, versions, unfinished uploads."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from walpy.errors import StorageError
from walpy.storage.base import StoredObject

if TYPE_CHECKING:
    from datetime import datetime

    from walpy.storage.s3_client import Bucket

T = TypeVar("T")

SECOND_NS = 1_000_000_000


def object_pages(bucket: "Bucket", prefix: str, *, delimiter: str = "", v1: bool = False) -> Iterator[Any]:
    """Answers of ListObjectsV2 (or V1) for the keys that begin with prefix, in code point order."""
    client: Any = bucket.client
    request = client.list_objects if v1 else client.list_objects_v2
    wanted: dict[str, str] = {"Prefix": prefix}
    if delimiter:
        wanted["Delimiter"] = delimiter
    return _pages(bucket, prefix, request, wanted, _next_v1 if v1 else _next_v2)


def version_pages(bucket: "Bucket", prefix: str) -> Iterator[Any]:
    """Answers of ListObjectVersions for the keys that begin with prefix."""
    client: Any = bucket.client
    return _pages(bucket, prefix, client.list_object_versions, {"Prefix": prefix}, _next_version)


def upload_pages(bucket: "Bucket", prefix: str) -> Iterator[Any]:
    """Answers of ListMultipartUploads for the keys that begin with prefix."""
    client: Any = bucket.client
    return _pages(bucket, prefix, client.list_multipart_uploads, {"Prefix": prefix}, _next_upload)


def _pages(bucket: "Bucket", prefix: str, request: Any, wanted: dict[str, str], next_of: Any) -> Iterator[Any]:
    position: dict[str, str] = {}
    while True:
        parameters = {**wanted, **position}
        page = bucket.call("list", prefix, lambda parameters=parameters: request(Bucket=bucket.name, **parameters))  # type: ignore[misc]
        yield page
        if not page.get("IsTruncated"):
            return
        following = next_of(page)
        if not all(following.values()) or following == position:
            raise StorageError(f"cannot list {bucket.url(prefix)!r}: the server does not say where to go on")
        position = following


def _next_v2(page: Any) -> dict[str, str]:
    return {"ContinuationToken": page.get("NextContinuationToken", "")}


def _next_v1(page: Any) -> dict[str, str]:
    seen = [item["Key"] for item in page.get("Contents", ())[-1:]]
    seen += [item["Prefix"] for item in page.get("CommonPrefixes", ())[-1:]]
    return {"Marker": page.get("NextMarker") or max(seen, default="")}


def _next_version(page: Any) -> dict[str, str]:
    return {"KeyMarker": page.get("NextKeyMarker", ""), "VersionIdMarker": page.get("NextVersionIdMarker", "")}


def _next_upload(page: Any) -> dict[str, str]:
    return {"KeyMarker": page.get("NextKeyMarker", ""), "UploadIdMarker": page.get("NextUploadIdMarker", "")}


def stored_objects(bucket: "Bucket", page: Any) -> Iterator[StoredObject]:
    """Objects of a page; the placeholders that consoles make for folders (their keys end with a slash) are none."""
    for item in page.get("Contents", ()):
        key = item["Key"]
        if not key.endswith("/"):
            yield StoredObject(key[len(bucket.root) :], int(item["Size"]), whole_seconds(item["LastModified"]))


def whole_seconds(moment: "datetime") -> int:
    """Nanoseconds since the epoch, without the fraction: listings may have one, and HEAD never has."""
    return int(moment.timestamp()) * SECOND_NS


def digest_of(etag: str, encryption: str) -> str:
    """What an ETag tells of the content (see base.TellsContent): nothing when it is encrypted by a key."""
    found = re.fullmatch('"?([0-9a-f]{32}(?:-[0-9]+)?)"?', etag)
    return found[1] if found and encryption in ("", "AES256") else ""


def common_prefix(keys: list[str]) -> str:
    """The longest beginning that sorted keys share."""
    shared = zip(keys[0], keys[-1], strict=False)
    return "".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], shared))


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of at most size."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, size)):
        yield batch
