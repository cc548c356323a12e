"""Deleting objects of a bucket in batches; in a versioned bucket with every version, as WAL-G does."""

import threading
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from walpy.errors import StorageError
from walpy.storage.base import batches, check_name, common_prefix
from walpy.storage.s3_errors import error_of_answer
from walpy.storage.s3_list import version_pages

if TYPE_CHECKING:
    from walpy.storage.s3_client import Bucket

Target = dict[str, str]  # of DeleteObjects: Key and, in a versioned bucket, VersionId


class Deleter:
    """Deletes; batch_size: keys for one request; versioned: whether the bucket is (None: ask it when needed)."""

    def __init__(self, bucket: "Bucket", batch_size: int, versioned: bool | None) -> None:
        self._bucket = bucket
        self._client: Any = bucket.client
        self._batch_size = batch_size
        self._versioned = versioned
        self._lock = threading.Lock()

    def delete(self, names: Iterable[str]) -> None:
        """Delete the named objects; missing ones are ignored, the first failure is raised."""
        for batch in batches(names, self._batch_size):
            for name in batch:
                check_name(name)
            keys = sorted({self._bucket.key(name) for name in batch})
            if self.is_versioned():
                self.delete_targets(self._versions(keys))
            else:
                self._delete([{"Key": key} for key in keys])

    def delete_targets(self, targets: Iterable[Target]) -> None:
        """Delete keys, or versions of them, as they are given; as delete."""
        for batch in batches(targets, self._batch_size):
            self._delete(batch)

    def _delete(self, targets: list[Target]) -> None:
        def request() -> None:
            answer = self._client.delete_objects(Bucket=self._bucket.name, Delete={"Objects": targets, "Quiet": True})
            failures = [
                item for item in answer.get("Errors", ()) if item.get("Code") not in ("NoSuchKey", "NoSuchVersion")
            ]
            if failures:
                raise self._error(failures)

        self._bucket.call("delete", targets[0]["Key"], request)

    def _error(self, failures: list[Any]) -> Exception:
        first = failures[0]
        others = f" and {len(failures) - 1} others" if len(failures) > 1 else ""
        what = f"cannot delete {self._bucket.url(first['Key'])!r}{others}"
        error = error_of_answer(first.get("Code", ""), 0, what)
        return type(error)(f"{error}: {first['Message']}", error.hint) if first.get("Message") else error

    def is_versioned(self) -> bool:
        """Whether the bucket keeps versions, or once did."""
        with self._lock:
            if self._versioned is None:
                self._versioned = self._ask_versioning()
            return bool(self._versioned)

    def _ask_versioning(self) -> bool | None:
        """Whether the bucket keeps versions; None when it will not say, which means no for now, as in WAL-G."""
        try:
            answer = self._bucket.call(
                "ask for the versioning of", "", lambda: self._client.get_bucket_versioning(Bucket=self._bucket.name)
            )
        except StorageError as error:
            if error.transient:
                raise
            return None
        return bool(answer.get("Status"))

    def _versions(self, keys: list[str]) -> Iterator[Target]:
        """Every version and delete marker of sorted keys: one listing for the keys of each folder."""
        for _, group in groupby(keys, key=lambda key: key.rpartition("/")[0]):
            folder_keys = list(group)
            wanted = set(folder_keys)
            for page in version_pages(self._bucket, common_prefix(folder_keys)):
                for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                    if item["Key"] in wanted:
                        yield {"Key": item["Key"], "VersionId": item["VersionId"]}
                if page.get("NextKeyMarker", "") > folder_keys[-1]:
                    break
