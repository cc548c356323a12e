"""Azure Blob storage as a Storage.

Every request is made by azure_client.Container.call: repeated under the storage deadline, its errors translated. Memory
of a put: see azure_upload. Settings and the permissions that are needed: docs/azure.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobPrefix, BlobProperties

from walpy.errors import ObjectMissing, StorageError
from walpy.storage.azure_client import connect, read_settings
from walpy.storage.azure_errors import code_of, error_of_answer
from walpy.storage.azure_read import AzureReader, open_blob
from walpy.storage.azure_upload import Uploader
from walpy.storage.base import Chunk, Folder, Storage, StoredObject, batches, common_prefix, whole_seconds
from walpy.storage.base import check_name as check_any_name
from walpy.storage.retry import RetryPolicy

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.storage.azure_client import Container

LARGEST_COPY = 256 << 20  # bytes; Azure's limit for a copy in one step
DELETE_BATCH = 256  # Azure's limit for one request
DELETED = (202, 404)  # statuses of a deletion's answer; which 404 it is, its code tells


def from_config(config: "Config") -> "AzureStorage":
    """The Azure storage of a configuration; makes no request. Raises ConfigError."""
    settings = read_settings(config)
    container = connect(settings, RetryPolicy.from_config(config))
    return AzureStorage(container, Uploader(container, settings.buffer_size, settings.buffers))


def check_name(name: str) -> None:
    """As base.check_name; a backslash is refused as well: Azure would store the object under a name with a slash."""
    check_any_name(name)
    if "\\" in name:
        raise StorageError(f"not a name of a blob: {name!r}")


class AzureStorage:
    """A folder of a container; see base.Storage. Safe to use from several threads."""

    def __init__(self, container: "Container", uploader: Uploader) -> None:
        self._container = container
        self._uploader = uploader
        self._knows_batches = True

    @property
    def url(self) -> str:
        """`azure://container/folder`."""
        return self._container.url(self._container.root).rstrip("/")

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object; see base.Storage.put."""
        check_name(name)
        return self._uploader.put(self._container.key(name), chunks, create_only=create_only)

    def take(self, source: Storage, item: StoredObject) -> bool:
        """Copy an object of another container, or folder, of this account; see base.CopiesItself.

        Not what is too large for one request, and not with an identity, which can sign no address for the server.
        """
        if not isinstance(source, AzureStorage) or item.size > LARGEST_COPY:
            return False
        here, there = self._container.settings, source._container.settings
        url = source._container.signed_url(source._container.key(item.name))
        if here.endpoint != there.endpoint or not url:
            return False
        check_name(item.name)
        return self._uploader.copy(self._container.key(item.name), url)

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> AzureReader:
        """Open an object for reading; see base.Storage.open."""
        check_name(name)
        return open_blob(self._container, self._container.key(name), offset=offset, size=size)

    def stat(self, name: str) -> StoredObject:
        """Look up one object; see base.Storage.stat."""
        check_name(name)
        key = self._container.key(name)
        blob = self._container.blob(key)
        return self._stored(self._container.call("look up", key, lambda timeouts: blob.get_blob_properties(**timeouts)))

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Those of the objects that exist, from one page of a listing; a crowded prefix costs a stat of each."""
        for name in names:
            check_name(name)
        if not names:
            return []
        page, marker = self._page(self._container.root + common_prefix(names), "", "")
        found = {item.name: item for item in self._objects(page)}
        if marker:
            last = max(found, default="")
            for name in {name for name in names if name > last}:
                found.update(self._if_exists(name))
        return [found[name] for name in names if name in found]

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder; see base.Storage.list."""
        for page in self._pages(self._container.folder_key(folder)):
            yield from self._objects(page)

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder; see base.Storage.list_names."""
        return (item.name for item in self.list(folder))

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder; see base.Storage.list_folder."""
        prefix = self._container.folder_key(folder)
        objects: list[StoredObject] = []
        folders: set[str] = set()
        for page in self._pages(prefix, "/"):
            objects.extend(self._objects(page))
            folders.update(str(item.name) for item in page if isinstance(item, BlobPrefix))
        start = len(self._container.root)
        return Folder(tuple(objects), tuple(sorted(name[start:-1] for name in folders if name != f"{prefix}/")))

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects and their snapshots; see base.Storage.delete."""
        for batch in batches(names, DELETE_BATCH):
            for name in batch:
                check_name(name)
            self._delete_batch(sorted({self._container.key(name) for name in batch}))

    def discard_unfinished(self, folder: str) -> int:  # noqa: ARG002 - the protocol's
        """Nothing: see azure_upload; no request removes blocks that are not committed."""
        return 0

    def close(self) -> None:
        """Close the connections."""
        self._uploader.close()
        self._container.client.close()

    # listings

    def _pages(self, prefix: str, delimiter: str = "") -> Iterator[Sequence[Any]]:
        marker = ""
        while True:
            page, marker = self._page(prefix, delimiter, marker)
            yield page
            if not marker:
                return

    def _page(self, prefix: str, delimiter: str, marker: str) -> tuple[Sequence[Any], str]:
        """One page of a listing, and where the next one begins (empty: there is none)."""
        client: Any = self._container.client

        def request(timeouts: dict[str, Any]) -> tuple[Sequence[Any], str]:
            wanted = {"name_starts_with": prefix, "results_per_page": self._container.page_size, **timeouts}
            found = client.walk_blobs(delimiter=delimiter, **wanted) if delimiter else client.list_blobs(**wanted)
            pages = found.by_page(marker or None)
            page = tuple(next(pages))
            return page, str(pages.continuation_token or "")

        return self._container.call("list", prefix, request)

    def _objects(self, page: Iterable[Any]) -> Iterator[StoredObject]:
        """Objects of a page; placeholders of folders, which consoles make, are none."""
        for item in page:
            if isinstance(item, BlobProperties) and not item.name.endswith("/"):
                yield self._stored(item)

    def _stored(self, item: BlobProperties) -> StoredObject:
        name = item.name[len(self._container.root) :]
        return StoredObject(name, int(item.size), whole_seconds(item.last_modified))

    def _if_exists(self, name: str) -> dict[str, StoredObject]:
        try:
            return {name: self.stat(name)}
        except ObjectMissing:
            return {}

    # deletions

    def _delete_batch(self, keys: Sequence[str]) -> None:
        if len(keys) > 1 and self._knows_batches:
            try:
                self._container.call("delete", keys[0], lambda timeouts: self._send_batch(keys, timeouts))
                return
            except _BatchRefused:
                self._knows_batches = False
        for key in keys:
            self._delete_one(key)

    def _delete_one(self, key: str) -> None:
        blob: Any = self._container.blob(key)

        def request(timeouts: dict[str, Any]) -> None:
            try:
                blob.delete_blob(delete_snapshots="include", **timeouts)
            except HttpResponseError as error:
                if code_of(error) != "BlobNotFound":
                    raise

        self._container.call("delete", key, request)

    def _send_batch(self, keys: Sequence[str], timeouts: dict[str, Any]) -> None:
        client: Any = self._container.client
        try:
            answers = client.delete_blobs(*keys, delete_snapshots="include", raise_on_any_failure=False, **timeouts)
        except HttpResponseError as error:
            status = error.status_code or 0
            if status < 400 or status >= 500 or status in (408, 429) or code_of(error) == "ContainerNotFound":
                raise
            raise _BatchRefused(f"deletion of {len(keys)} blobs at once was refused") from error
        for key, answer in zip(keys, answers, strict=True):
            code = str(answer.headers.get("x-ms-error-code") or "")
            if answer.status_code not in DELETED or code not in ("", "BlobNotFound"):
                raise error_of_answer(code, answer.status_code, f"cannot delete {self._container.url(key)!r}")


class _BatchRefused(StorageError):
    """A server, or what the credentials allow, knows no deletion of several blobs: they are deleted one by one."""
