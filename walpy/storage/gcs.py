"""GcsStorage: an archive in a bucket of Google Cloud Storage (or what speaks its JSON API).

Guarantees beyond the protocol's: an upload is compared by CRC32C before it becomes visible; a read stays with the
generation it opened, and a whole read is compared by CRC32C; bytes are never transcoded. Memory: one buffer
(GCS_MAX_CHUNK_SIZE when set, else 8 MiB) for each put that runs at the same time, one chunk for each reader.
"""

import base64
import binascii
import hashlib
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import google.auth
from google.auth.credentials import Credentials

from walpy.errors import AccessDenied, ConfigError, ObjectMissing
from walpy.storage.base import Chunk, Folder, Storage, StoredObject, check_name, join
from walpy.storage.gcs_errors import FAILURES, origin, translate
from walpy.storage.gcs_http import Bucket, session_for
from walpy.storage.gcs_reader import GcsReader
from walpy.storage.gcs_upload import GRANULE, BufferPool, Upload
from walpy.storage.retry import RetryPolicy

if TYPE_CHECKING:
    from walpy.config import Config

ENDPOINT = "https://storage.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
BUFFER_SIZE = 8 << 20  # bytes; a larger buffer means fewer, longer requests of a resumable upload
KEY_SIZE = 32  # bytes of a customer-supplied encryption key (AES-256)

LIST_FIELDS = "nextPageToken,prefixes,items(name,size,updated)"
DELETE_BATCH = 1000  # names taken from an iterable at once
DELETE_THREADS = 16  # each deletion is one small request, which mostly waits
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Pieces of unfinished uploads of WAL-G (`part_001.tar.lz4_chunks/chunk0`): not objects of an archive.
WALG_PIECE = re.compile(r"[^/]_chunks/(?:chunk|composite)\d+$")
WALG_PIECES_FOLDER = re.compile(r"[^/]_chunks/$")

logger = logging.getLogger(__name__)


def from_config(config: "Config") -> Storage:
    """The storage of WALG_GS_PREFIX. Raises ConfigError for wrong settings, AccessDenied without credentials."""
    bucket_name, root = location(
        config.prefix(), config.storage_prefix(), normalize=config.storage_boolean("GCS_NORMALIZE_PREFIX")
    )
    for name in ("GCS_CONTEXT_TIMEOUT", "GCS_MAX_RETRIES"):
        config.storage_integer(name, minimum=0)  # checked, but RetryPolicy's deadline and time-outs decide
    emulator = config.text("STORAGE_EMULATOR_HOST")
    bucket = Bucket(
        session_for(None if emulator else _credentials(config)),
        _endpoint(emulator),
        bucket_name,
        RetryPolicy.from_config(config),
        _key_headers(config),
    )
    return GcsStorage(bucket, root, _buffer_size(config))


def location(prefix: str, sub_folder: str, *, normalize: bool) -> tuple[str, str]:
    """Bucket, and what precedes every name in it: empty, or a text that ends with `/`.

    prefix: `gs://bucket/path`. normalize: GCS_NORMALIZE_PREFIX; without it, slashes stay as they were written, but for
    the leading ones (as WAL-G keeps them, for archives of WAL-E). Raises ConfigError for a URL without a bucket.
    """
    url = urlsplit(prefix)
    if not url.scheme or not url.netloc:
        raise ConfigError(
            f"WALG_GS_PREFIX has the wrong value {prefix!r}: "
            f"missing url scheme={url.scheme!r} and/or host={url.netloc!r}",
            "Write it as gs://bucket/path.",
        )
    path = unquote(url.path)
    if normalize:
        root = join(path, sub_folder)
        return url.netloc, f"{root}/" if root else ""
    root = path.lstrip("/")
    for part in (sub_folder.removeprefix("/"), ""):
        root = root if not root or root.endswith("/") else f"{root}/"
        root += part
    return url.netloc, root


def _endpoint(emulator: str) -> str:
    if not emulator:
        return ENDPOINT
    return (emulator if "://" in emulator else f"http://{emulator}").rstrip("/")


def _credentials(config: "Config") -> Credentials:
    """The key file that the configuration names, else what google-auth finds: gcloud's login, the metadata server."""
    path = config.text("GOOGLE_APPLICATION_CREDENTIALS")
    load: Callable[..., tuple[Credentials, object]] = google.auth.load_credentials_from_file  # which has no types
    try:
        if not path:
            return google.auth.default(scopes=[SCOPE])[0]
        with warnings.catch_warnings():
            # It warns that a file from somebody else may name any token server; this one is the operator's own.
            warnings.simplefilter("ignore", DeprecationWarning)
            return load(path, scopes=[SCOPE])[0]
    except FAILURES as error:
        raise translate(error, "search for Google credentials") from origin(error)


def _key_headers(config: "Config") -> Mapping[str, str]:
    """Headers of the customer-supplied encryption key; none when there is no key."""
    text = config.storage_text("GCS_ENCRYPTION_KEY")
    if not text:
        return {}
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_SIZE:
        setting = config.storage_key("GCS_ENCRYPTION_KEY")
        raise ConfigError(
            f"{setting} has a wrong value ({config.origin(setting)}): not base64 of {KEY_SIZE} bytes",
            "Make one with: openssl rand -base64 32.",
        )
    return {
        "X-Goog-Encryption-Algorithm": "AES256",
        "X-Goog-Encryption-Key": text,
        "X-Goog-Encryption-Key-Sha256": base64.b64encode(hashlib.sha256(key).digest()).decode(),
    }


def _buffer_size(config: "Config") -> int:
    """Bytes of an upload's buffer: GCS_MAX_CHUNK_SIZE in whole granules when somebody set it."""
    setting = config.storage_key("GCS_MAX_CHUNK_SIZE")
    size = config.integer(setting, minimum=1) if config.is_set(setting) else BUFFER_SIZE
    return max(GRANULE, size // GRANULE * GRANULE)


class GcsStorage:
    """A Storage in a bucket; names are the objects' keys after root. Resumable uploads cannot be listed."""

    def __init__(self, bucket: Bucket, root: str, buffer_size: int = BUFFER_SIZE) -> None:
        self._bucket = bucket
        self._root = root
        self._buffers = BufferPool(buffer_size)

    @property
    def url(self) -> str:
        """`gs://bucket/path`."""
        return f"gs://{self._bucket.name}/{self._root}".rstrip("/")

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object: one request when it fits the buffer, else a resumable session. See Storage.put."""
        check_name(name)
        with self._buffers.lend() as buffer:
            upload = Upload(self._bucket, self._key(name), name, buffer, create_only=create_only)
            try:
                for chunk in chunks:
                    upload.write(chunk)
                return upload.finish()
            except BaseException:
                upload.cancel()
                raise

    def take(self, source: Storage, item: StoredObject) -> bool:
        """Copy an object of another bucket, or folder, of this server; see base.CopiesItself.

        Not what is encrypted with a customer's key, and not what these credentials may not read.
        """
        if not isinstance(source, GcsStorage) or not self._bucket.is_beside(source._bucket):
            return False
        check_name(item.name)
        key, from_key = self._key(item.name), source._key(item.name)
        attempt = partial(self._bucket.rewrite, key, source._bucket, from_key)
        try:
            return self._bucket.repeat(attempt, f"copy to {self._bucket.shown(key)!r}")
        except (AccessDenied, ObjectMissing) as error:
            logger.debug("%s: its bytes are copied instead", error)
            return False

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> GcsReader:
        """Open an object for reading. See Storage.open."""
        check_name(name)
        return GcsReader(self._bucket, self._key(name), name, offset=offset, size=size)

    def stat(self, name: str) -> StoredObject:
        """Look up one object. See Storage.stat."""
        return self.describe(name)[0]

    def describe(self, name: str) -> tuple[StoredObject, str]:
        """Look up one object, with a digest; see base.TellsContent. Objects that WAL-G composed have none."""
        check_name(name)
        attempt = partial(self._bucket.metadata, self._key(name), name)
        found = self._bucket.repeat(attempt, f"look-up of {self._bucket.shown(self._key(name))!r}")
        return self._stored(found), base64.b64decode(str(found.get("md5Hash", ""))).hex()

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Those of the objects that exist, from one page of a listing; a crowded prefix costs a stat of each."""
        for name in names:
            check_name(name)
        if not names:
            return []
        page = next(self._pages(self._root + _common_start(names)))
        found = {item.name: item for item in self._items(page)}
        if page.get("nextPageToken"):
            last = max(found, default="")
            for name in set(names):
                if name > last:
                    found.update(self._if_exists(name))
        return [found[name] for name in names if name in found]

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder. See Storage.list; pieces of WAL-G's unfinished uploads are left out."""
        for page in self._pages(self._folder_key(folder)):
            yield from (item for item in self._items(page) if not WALG_PIECE.search(item.name))

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder; see base.Storage.list_names."""
        return (item.name for item in self.list(folder))

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder. See Storage.list_folder."""
        prefix = self._folder_key(folder)
        objects: list[StoredObject] = []
        folders: set[str] = set()
        for page in self._pages(prefix, delimiter="/"):
            objects.extend(self._items(page))
            folders.update(_texts(page.get("prefixes")))
        names = (
            key[len(self._root) : -1] for key in folders if key != f"{prefix}/" and not WALG_PIECES_FOLDER.search(key)
        )
        return Folder(tuple(objects), tuple(sorted(names)))

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, several at the same time. See Storage.delete."""
        remaining = iter(names)
        while batch := list(islice(remaining, DELETE_BATCH)):
            for name in batch:
                check_name(name)
            self._delete_batch(batch)

    def discard_unfinished(self, folder: str) -> int:
        """Remove the pieces of WAL-G's unfinished uploads; walpy's own cannot be listed, and expire after a week."""
        pieces = [
            item.name
            for page in self._pages(self._folder_key(folder))
            for item in self._items(page)
            if WALG_PIECE.search(item.name)
        ]
        self.delete(pieces)
        return len(pieces)

    def close(self) -> None:
        """Close all connections."""
        self._bucket.close()

    def _key(self, name: str) -> str:
        return self._root + name

    def _folder_key(self, folder: str) -> str:
        name = folder.strip("/")
        return f"{self._root}{name}/" if name else self._root

    def _pages(self, prefix: str, delimiter: str = "") -> Iterator[Mapping[str, object]]:
        params = {"prefix": prefix, "fields": LIST_FIELDS}
        if delimiter:
            params["delimiter"] = delimiter
        while True:
            page = self._bucket.repeat(partial(self._bucket.page, params), f"listing of {self._bucket.shown(prefix)!r}")
            yield page
            token = page.get("nextPageToken")
            if not token:
                return
            params = {**params, "pageToken": str(token)}

    def _items(self, page: Mapping[str, object]) -> Iterator[StoredObject]:
        """Objects of a page; placeholders of folders, which consoles make, are none."""
        items = page.get("items")
        for item in items if isinstance(items, list) else []:
            if not str(item["name"]).endswith("/"):
                yield self._stored(item)

    def _stored(self, item: Mapping[str, object]) -> StoredObject:
        return StoredObject(
            str(item["name"])[len(self._root) :], int(str(item["size"])), _nanoseconds(str(item["updated"]))
        )

    def _if_exists(self, name: str) -> dict[str, StoredObject]:
        try:
            return {name: self.stat(name)}
        except ObjectMissing:
            return {}

    def _delete_one(self, name: str) -> None:
        attempt = partial(self._bucket.delete, self._key(name), name)
        self._bucket.repeat(attempt, f"deletion of {self._bucket.shown(self._key(name))!r}")

    def _delete_batch(self, names: Sequence[str]) -> None:
        if len(names) == 1:
            self._delete_one(names[0])
            return
        threads = ThreadPoolExecutor(min(DELETE_THREADS, len(names)), thread_name_prefix="gcs-delete")
        try:
            errors = [future.exception() for future in [threads.submit(self._delete_one, name) for name in names]]
        finally:
            threads.shutdown(wait=False, cancel_futures=True)  # an interrupted caller does not wait
        for error in errors:
            if error is not None:
                raise error


def _common_start(names: Sequence[str]) -> str:
    """The longest text with which all names begin: as far as the first and the last of them agree."""
    first, last = min(names), max(names)
    agreeing = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: sum(1 for _ in agreeing)]


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _nanoseconds(timestamp: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 timestamp; the server gives milliseconds."""
    passed = datetime.fromisoformat(timestamp) - EPOCH
    return ((passed.days * 86_400 + passed.seconds) * 10**6 + passed.microseconds) * 1000
