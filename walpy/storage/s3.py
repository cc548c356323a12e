"""Amazon S3 and its look-alikes as a Storage.

Every request is made by s3_client.Bucket.call: repeated under the storage deadline, its errors translated. Memory of a
put: see s3_upload. Settings and the permissions that are needed: docs/s3.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from walpy.errors import ObjectMissing, StorageUnavailable
from walpy.storage.base import Chunk, Folder, Storage, StoredObject, check_name, join
from walpy.storage.retry import RetryPolicy
from walpy.storage.s3_client import connect
from walpy.storage.s3_delete import Deleter
from walpy.storage.s3_errors import code_of, status_of
from walpy.storage.s3_list import (
    common_prefix,
    digest_of,
    object_pages,
    stored_objects,
    upload_pages,
    whole_seconds,
)
from walpy.storage.s3_part_requests import SdkPartRequests
from walpy.storage.s3_read import S3Reader, Source, explain_refusal, open_object
from walpy.storage.s3_settings import S3Settings, read_settings
from walpy.storage.s3_upload import Uploader

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.storage.s3_client import Bucket

# stat_many reads so many pages of a listing (1,000 keys each) before it asks for the remaining names one by one.
MOST_LOOKUP_PAGES = 3
LARGEST_COPY = 5 << 30  # bytes; Amazon's limit for one request
UNEXPLAINED = (400, 403, 404)  # statuses of a HEAD that only the body of a GET can explain


def from_config(config: "Config") -> "S3Storage":
    """The S3 storage of a configuration.

    Raises ConfigError for wrong settings; AccessDenied or another StorageError when the bucket's region must be asked
    for and cannot be, or when S3_SKIP_VALIDATION=false and the bucket cannot be listed.
    """
    settings = read_settings(config)
    storage = S3Storage(connect(settings, RetryPolicy.from_config(config)), settings)
    if settings.validate:
        storage.validate()
    return storage


class S3Storage:
    """A folder of a bucket; see base.Storage. Safe to use from several threads."""

    def __init__(self, bucket: "Bucket", settings: S3Settings) -> None:
        self._bucket = bucket
        self._client: Any = bucket.client
        self.settings = settings
        self._read_parameters = settings.writing.key_parameters()
        self._uploader = Uploader(bucket, settings.writing)
        self._deleter = Deleter(bucket, settings.delete_batch, settings.versioned)

    @property
    def url(self) -> str:
        """`s3://bucket/folder`."""
        return self._bucket.url(self.settings.root)

    def validate(self) -> None:
        """List one key, as WAL-G does with S3_SKIP_VALIDATION=false. Raises what that raises."""
        root = self._bucket.root
        self._bucket.call(
            "list", root, lambda: self._client.list_objects(Bucket=self._bucket.name, Prefix=root, MaxKeys=1)
        )

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object; see base.Storage.put."""
        check_name(name)
        return self._uploader.put(self._bucket.key(name), chunks, create_only=create_only)

    def put_again(self, name: str, body: Chunk, *, create_only: bool, token: str) -> int:
        """Store an object that an earlier request may have stored already, with that token; see base.Storage.put."""
        return self._uploader.put(self._bucket.key(name), [body], create_only=create_only, earlier_token=token)

    def take(self, source: Storage, item: StoredObject) -> bool:
        """Copy an object of another bucket, or folder, of this server; see base.CopiesItself.

        Not what is too large for one request, or encrypted with a customer's key, and not what these credentials may
        not read.
        """
        settings = getattr(source, "settings", None)
        if not isinstance(settings, S3Settings) or item.size > LARGEST_COPY:
            return False
        here, there = (own.endpoint._replace(region="") for own in (self.settings, settings))
        if here != there or settings.writing.sse_c_key or self.settings.writing.sse_c_key:
            return False
        check_name(item.name)
        return self._uploader.copy(self._bucket.key(item.name), settings.bucket, join(settings.root, item.name))

    def part_requests(self, name: str, *, create_only: bool, token: str) -> SdkPartRequests:
        """Requests of an upload in parts that began elsewhere, its object's token being that one."""
        return self._uploader.part_requests(self._bucket.key(name), create_only=create_only, token=token)

    def open_rest(self, name: str, offset: int, size: int, etag: str) -> S3Reader:
        """The size bytes from offset on of the version of an object that has that ETag."""
        return S3Reader(self._source(self._bucket.key(name)), offset, size, etag=etag)

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> S3Reader:
        """Open an object for reading; see base.Storage.open."""
        check_name(name)
        return open_object(self._source(self._bucket.key(name)), offset=offset, size=size)

    def stat(self, name: str) -> StoredObject:
        """Look up one object; see base.Storage.stat."""
        return self.describe(name)[0]

    def describe(self, name: str) -> tuple[StoredObject, str]:
        """Look up one object, with a digest; see base.TellsContent."""
        check_name(name)
        key = self._bucket.key(name)
        answer = self._bucket.call("look up", key, lambda: self._head(key))
        encryption = "customer" if "SSECustomerAlgorithm" in answer else answer.get("ServerSideEncryption", "")
        found = StoredObject(name, int(answer["ContentLength"]), whole_seconds(answer["LastModified"]))
        return found, digest_of(answer.get("ETag", ""), encryption)

    def _head(self, key: str) -> Any:
        try:
            return self._client.head_object(Bucket=self._bucket.name, Key=key, **self._read_parameters)
        except ClientError as error:
            if status_of(error) not in UNEXPLAINED:
                raise
            explain_refusal(self._source(key))
            raise StorageUnavailable(
                f"cannot look up {self._bucket.url(key)!r}: the server contradicts itself ({code_of(error)})"
            ) from error

    def _source(self, key: str) -> Source:
        return Source(self._bucket, key, self._read_parameters)

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Look up several objects by one listing; see base.Storage.stat_many."""
        for name in names:
            check_name(name)
        if not names:
            return []
        found = self._look_up({self._bucket.key(name) for name in names})
        return [found[name] for name in names if name in found]

    def _look_up(self, keys: set[str]) -> dict[str, StoredObject]:
        wanted = sorted(keys)
        found: dict[str, StoredObject] = {}
        pages = object_pages(self._bucket, common_prefix(wanted), v1=self.settings.list_v1)
        for count, page in enumerate(pages, 1):
            found.update((item.name, item) for item in stored_objects(self._bucket, page))
            reached = max((item["Key"] for item in page.get("Contents", ())), default="")
            if not page.get("IsTruncated") or reached >= wanted[-1]:
                break
            if count == MOST_LOOKUP_PAGES:
                self._look_up_singly([key for key in wanted if key > reached], found)
                break
        return found

    def _look_up_singly(self, keys: list[str], found: dict[str, StoredObject]) -> None:
        for key in keys:
            name = key[len(self._bucket.root) :]
            try:
                found[name] = self.stat(name)
            except ObjectMissing:
                continue

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder; see base.Storage.list."""
        prefix = self._bucket.folder_key(folder)
        for page in object_pages(self._bucket, prefix, v1=self.settings.list_v1):
            yield from stored_objects(self._bucket, page)

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder; see base.Storage.list_names."""
        return (item.name for item in self.list(folder))

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder; see base.Storage.list_folder."""
        prefix = self._bucket.folder_key(folder)
        objects: list[StoredObject] = []
        folders: set[str] = set()  # V1 listings of some servers name a folder on two pages
        for page in object_pages(self._bucket, prefix, delimiter="/", v1=self.settings.list_v1):
            objects.extend(stored_objects(self._bucket, page))
            folders.update(item["Prefix"][len(self._bucket.root) : -1] for item in page.get("CommonPrefixes", ()))
        return Folder(tuple(objects), tuple(sorted(folders)))

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, with all versions in a versioned bucket; see base.Storage.delete."""
        self._deleter.delete(names)

    def discard_unfinished(self, folder: str) -> int:
        """Abort the multipart uploads below a folder; see base.Storage.discard_unfinished."""
        count = 0
        for page in upload_pages(self._bucket, self._bucket.folder_key(folder)):
            for upload in page.get("Uploads", ()):
                self._abort(upload["Key"], upload["UploadId"])
                count += 1
        return count

    def _abort(self, key: str, upload_id: str) -> None:
        def request() -> None:
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket.name, Key=key, UploadId=upload_id)
            except ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise

        self._bucket.call("abort the upload of", key, request)

    def close(self) -> None:
        """Close the connections."""
        self._uploader.close()
        self._client.close()
