"""Versions of objects in a bucket that keeps them: listed, and removed for good.

Memory: the versions of one object, and one page of a listing.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from walpy.storage.base import ObjectVersion, check_name, whole_seconds
from walpy.storage.s3_list import version_pages

if TYPE_CHECKING:
    from walpy.storage.s3_client import Bucket
    from walpy.storage.s3_delete import Deleter


class S3Versions:
    """See base.Versions."""

    def __init__(self, bucket: "Bucket", deleter: "Deleter") -> None:
        self._bucket = bucket
        self._deleter = deleter

    def list(self, folder: str = "", *, recursive: bool = True) -> Iterator[ObjectVersion]:
        """Versions of the objects below a folder, or of its direct children; see base.Versions."""
        pages = version_pages(self._bucket, self._bucket.folder_key(folder), delimiter="" if recursive else "/")
        return self._ordered(pages)

    def list_folders(self, folder: str = "") -> Iterator[str]:
        """Folders directly below one; see base.Versions."""
        seen: set[str] = set()
        for page in version_pages(self._bucket, self._bucket.folder_key(folder), delimiter="/"):
            seen.update(item["Prefix"][len(self._bucket.root) : -1] for item in page.get("CommonPrefixes", ()))
        return iter(sorted(seen))

    def of(self, name: str) -> Iterator[ObjectVersion]:
        """Versions of one object; see base.Versions."""
        check_name(name)
        for found in self._ordered(version_pages(self._bucket, self._bucket.key(name))):
            if found.name != name:  # it begins with the name, so it comes later
                return
            yield found

    def delete(self, versions: Iterable[ObjectVersion]) -> None:
        """Remove versions for good; see base.Versions."""
        self._deleter.delete_targets(
            {"Key": self._bucket.key(item.name), "VersionId": item.version} for item in versions
        )

    def hide(self, names: Iterable[str]) -> None:
        """Delete objects so that their versions stay; see base.Versions."""
        self._deleter.delete_targets({"Key": self._bucket.key(name)} for name in names)

    def _ordered(self, pages: Iterable[Any]) -> Iterator[ObjectVersion]:
        """Versions and deletions of one object come in two lists, and maybe on two pages."""
        found = (item for page in pages for item in sorted(self._of_page(page), key=attrgetter("name")))
        for _, group in groupby(found, key=attrgetter("name")):
            yield from sorted(group, key=lambda item: (not item.is_latest, -item.modified_ns))

    def _of_page(self, page: Any) -> Iterator[ObjectVersion]:
        root = len(self._bucket.root)
        for kind in ("Versions", "DeleteMarkers"):
            for item in page.get(kind, ()):
                if not item["Key"].endswith("/"):
                    yield ObjectVersion(
                        item["Key"][root:],
                        item["VersionId"],
                        int(item.get("Size", 0)),
                        whole_seconds(item["LastModified"]),
                        bool(item["IsLatest"]),
                        kind == "DeleteMarkers",
                    )
