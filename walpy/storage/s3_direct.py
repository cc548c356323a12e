"""S3 without the SDK, as long as all goes well: what WAL, backups and the catalogue need, ready 300 ms earlier.

What is made here: a PUT of an object, in parts if it takes several, a GET of a whole object, its HEAD, listings. An
expected answer (success, "exists already", "no such key") is taken as it is. At the first other one, at any trouble
with the connection, and for every other request, the SDK's storage takes over, for the rest of the process: it repeats,
explains and raises. Settings that this module does not understand to the last detail lead to the SDK from the start.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from walpy.errors import ObjectExists, ObjectMissing
from walpy.storage.base import (
    PUT_TOKEN,
    READ_SIZE,
    Chunk,
    Folder,
    ObjectReader,
    Storage,
    StoredObject,
    check_name,
    common_prefix,
    whole_seconds,
)
from walpy.storage.buffers import Buffers
from walpy.storage.multipart import store_parts
from walpy.storage.parts import PartSlots, cut, gather
from walpy.storage.retry import RetryPolicy
from walpy.storage.s3_direct_client import DirectClient
from walpy.storage.s3_direct_parts import DirectPartRequests
from walpy.storage.s3_list import digest_of
from walpy.storage.s3_pages import NamesPage, Page, parse_names, parse_page
from walpy.storage.s3_place import Place, find_place
from walpy.storage.s3_settings import S3Settings, read_settings
from walpy.storage.s3_sign import EMPTY_HASH, target_of
from walpy.storage.s3_wire import NOT_FOUND, OK, PRECONDITION_FAILED, Answer, Connection, WireError

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.storage.base import Versions
    from walpy.storage.s3 import S3Storage

AnyPage = TypeVar("AnyPage", Page, NamesPage)

SDK_MODULE = "walpy.storage.s3"
KEPT_FOR_READING = 4 * READ_SIZE  # bytes of buffers for the next readers

NO_SUCH_KEY = b"<Code>NoSuchKey</Code>"
UPLOADS, NOT_TRUNCATED = b"<ListMultipartUploadsResult", b"<IsTruncated>false</IsTruncated>"
HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"

logger = logging.getLogger(__name__)


def from_config(config: "Config") -> Storage:
    """The S3 storage of a configuration. Raises as the SDK's."""
    settings = read_settings(config)
    place = find_place(settings, config.left_to_libraries)

    def open_sdk() -> "S3Storage":
        storage: S3Storage = import_module(SDK_MODULE).from_config(config)
        return storage

    return DirectS3(place, settings, RetryPolicy.from_config(config), open_sdk) if place else open_sdk()


class DirectS3:
    """A Storage that makes the common requests itself; safe for threads.

    Memory, of which only what is filled is touched, for all puts together, while further ones wait: the largest object
    of one request x parts in flight (20 MiB x 4 by default) for small objects, part size x parts in flight (8 MiB x 4)
    for larger ones. READ_SIZE for each reader.
    """

    def __init__(
        self, place: Place, settings: S3Settings, policy: RetryPolicy, open_sdk: "Callable[[], S3Storage]"
    ) -> None:
        self._place = place
        self.client = DirectClient(place, settings.credentials, policy)
        self.settings = settings
        self._root = f"{settings.root}/" if settings.root else ""
        writing = settings.writing
        kept_size = max(writing.part_size, writing.whole_size) * writing.parts_in_flight
        self.buffers = Buffers(kept_size + KEPT_FOR_READING)
        self._whole_slots = PartSlots(self.buffers, writing.parts_in_flight)
        self._part_slots = PartSlots(self.buffers, writing.parts_in_flight)
        self._open_sdk = open_sdk
        self._sdk: S3Storage | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """`s3://bucket/folder`."""
        return f"s3://{self.settings.bucket}/{self._root}"

    @property
    def sdk(self) -> "S3Storage":
        """The SDK's storage; from the moment when it is needed, it does everything."""
        with self._lock:
            if self._sdk is None:
                self._sdk = self._open_sdk()
                self.client.close()
            return self._sdk

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object; see base.Storage.put."""
        check_name(name)
        if self._sdk is not None:
            return self._sdk.put(name, chunks, create_only=create_only)
        buffer = self._whole_slots.take(self.settings.writing.whole_size)
        try:
            ahead, body_hash = self.client.connect_ahead(), sha256()
            size, stream = gather(chunks, buffer, body_hash.update)
            if stream is not None:
                return self._put_parts(name, stream, create_only)
            if ahead is not None:
                ahead.join()
            return self._put_whole(name, memoryview(buffer)[:size], body_hash.hexdigest(), create_only)
        finally:
            self._whole_slots.give_back(buffer)

    def _put_whole(self, name: str, body: memoryview, body_hash: str, create_only: bool) -> int:
        token = os.urandom(16).hex() if create_only else ""
        headers = self.put_headers(token, create_only=create_only)
        status, _, _ = self.exchange("PUT", name, headers, body=body, body_hash=body_hash)
        if status == PRECONDITION_FAILED and create_only:
            raise ObjectExists(f"object {self.url + name!r} exists already")
        if status != OK:
            return self.sdk.put_again(name, body, create_only=create_only, token=token)
        return len(body)

    def _put_parts(self, name: str, chunks: Iterable[Chunk], create_only: bool) -> int:
        writing = self.settings.writing
        parts = cut(chunks, writing.part_size, self._part_slots.take, self._part_slots.give_back)
        requests = DirectPartRequests(self, name, create_only=create_only)
        return store_parts(parts, requests, self._part_slots.give_back, writing.parts_in_flight)

    def put_headers(self, token: str, *, create_only: bool) -> dict[str, str]:
        """Headers of the request that stores, or begins to store, an object. token: for its metadata; may be empty."""
        writing = self.settings.writing
        headers = {"x-amz-storage-class": writing.storage_class}
        if writing.sse:
            headers["x-amz-server-side-encryption"] = writing.sse
        if writing.sse_kms_id:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = writing.sse_kms_id
        if token:
            headers[f"x-amz-meta-{PUT_TOKEN}"] = token
        if create_only:
            headers["if-none-match"] = "*"
        return headers

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> ObjectReader:
        """Open an object for reading; see base.Storage.open."""
        check_name(name)
        if self._sdk is not None or offset or size is not None:
            return self.sdk.open(name, offset=offset, size=size)
        try:
            connection, answer = self.client.ask("GET", self._target(name))
            if answer.status == OK and answer.size is not None:
                return DirectReader(self, name, connection, answer)
            explanation = self.client.finish(connection, answer)
        except WireError as error:
            logger.debug("get of %s: %s", name, error)
            return self.sdk.open(name)
        if answer.status == NOT_FOUND and NO_SUCH_KEY in explanation:
            raise ObjectMissing(f"cannot read {self.url + name!r}: no such object (NoSuchKey)")
        return self.sdk.open(name)

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Look up several objects by one listing; see base.Storage.stat_many."""
        for name in names:
            check_name(name)
        page = next(self._pages(common_prefix(sorted(names)), parse_page)) if names else None
        if page is None or page.following:
            return self.sdk.stat_many(names)
        found = {item.name: item for item in page.objects}
        return [found[name] for name in names if name in found]

    def _pages(
        self, prefix: str, parse: "Callable[[str, str], AnyPage]", *, delimiter: str = ""
    ) -> "Iterator[AnyPage | None]":
        """Pages of the keys below the root that begin with prefix. None ends them: the SDK has to list."""
        query = {"list-type": "2", "prefix": self._root + prefix} | ({"delimiter": delimiter} if delimiter else {})
        token = ""
        while True:
            page = self._page(parse, query | ({"continuation-token": token} if token else {}))
            if page is not None and page.following and page.following == token:
                page = None  # the server does not go on
            yield page
            if page is None or not page.following:
                return
            token = page.following

    def _page(self, parse: "Callable[[str, str], AnyPage]", query: Mapping[str, str]) -> "AnyPage | None":
        """One page; None when it is not plain to read, or the SDK is at work already."""
        status, text, _ = self.exchange("GET", None, {}, query=query)
        try:
            return parse(text.decode(), self._root) if status == OK else None
        except ValueError as error:
            logger.debug("list of %s: %s", query["prefix"], error)
            return None

    def stat(self, name: str) -> StoredObject:
        """Look up one object; see base.Storage.stat."""
        return self.describe(name)[0]

    def describe(self, name: str) -> tuple[StoredObject, str]:
        """Look up one object, with a digest; see base.TellsContent."""
        check_name(name)
        if self._sdk is not None:
            return self._sdk.describe(name)
        try:
            connection, answer = self.client.ask("HEAD", self._target(name))
            self.client.release(connection)
            if answer.status == OK and answer.size is not None:
                moment = datetime.strptime(answer.headers.get("last-modified", ""), HTTP_DATE)
                found = StoredObject(name, answer.size, whole_seconds(moment.replace(tzinfo=UTC)))
                encryption = answer.headers.get("x-amz-server-side-encryption", "")
                return found, digest_of(answer.headers.get("etag", ""), encryption)
        except (WireError, ValueError) as error:
            logger.debug("head of %s: %s", name, error)
            return self.sdk.describe(name)
        if answer.status == NOT_FOUND:  # only the answer to a GET tells whether it is the key that is missing
            with self.open(name):
                pass
        return self.sdk.describe(name)

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder; see base.Storage.list."""
        last = ""
        for page in self._pages(_prefix(folder), parse_page):
            if page is None:
                yield from (item for item in self.sdk.list(folder) if item.name > last)
                return
            yield from page.objects
            last = max([last, *(item.name for item in page.objects[-1:])])

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder; see base.Storage.list_names."""
        last = ""
        for page in self._pages(_prefix(folder), parse_names):
            if page is None:
                yield from (item.name for item in self.sdk.list(folder) if item.name > last)
                return
            yield from page.names
            last = max([last, *page.names[-1:]])

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder; see base.Storage.list_folder."""
        objects: list[StoredObject] = []
        folders: list[str] = []
        for page in self._pages(_prefix(folder), parse_page, delimiter="/"):
            if page is None:
                return self.sdk.list_folder(folder)
            objects += page.objects
            folders += page.folders
        return Folder(tuple(objects), tuple(sorted(folders)))

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; see base.Storage.delete."""
        self.sdk.delete(names)

    def versions(self) -> "Versions | None":
        """What the bucket keeps of replaced and deleted objects; see base.KeepsVersions."""
        return self.sdk.versions()

    def take(self, source: Storage, item: StoredObject, name: str = "") -> bool:
        """Copy an object of this server; see base.CopiesItself."""
        return self.sdk.take(source, item, name)

    def discard_unfinished(self, folder: str) -> int:
        """Abort multipart uploads; see base.Storage.discard_unfinished."""
        query = {"uploads": "", "prefix": self._root + _prefix(folder)}
        status, text, _ = self.exchange("GET", None, {}, query=query)
        if status == OK and UPLOADS in text and b"<Upload>" not in text and NOT_TRUNCATED in text:
            return 0
        return self.sdk.discard_unfinished(folder)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        self.buffers.close()
        with self._lock:
            sdk = self._sdk
        if sdk is not None:
            sdk.close()

    def exchange(
        self,
        method: str,
        name: str | None,
        headers: Mapping[str, str],
        *,
        query: Mapping[str, str] | None = None,
        body: memoryview | None = None,
        body_hash: str = EMPTY_HASH,
        cancel: threading.Event | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of a small answer; status 0: there is none, or the SDK is at work already.

        name: None for the bucket itself. cancel: ends the sending of the body when it is set.
        """
        if self._sdk is not None:
            return 0, b"", {}
        target = target_of(self._place.path.rstrip("/") or "/", query) if name is None else self._target(name, query)
        try:
            connection, answer = self.client.ask(method, target, headers, body=body, body_hash=body_hash, cancel=cancel)
            return answer.status, self.client.finish(connection, answer), answer.headers
        except WireError as error:
            logger.debug("%s of %s: %s", method, name, error)
            return 0, b"", {}

    def _target(self, name: str, query: Mapping[str, str] | None = None) -> str:
        return target_of(self._place.path + self._root + name, query)


class DirectReader:
    """An ObjectReader of a whole object; what a broken connection owes comes from the SDK's storage."""

    def __init__(self, storage: DirectS3, name: str, connection: Connection, answer: Answer) -> None:
        self._storage = storage
        self._name = name
        self._connection = connection
        self._size = answer.size or 0
        self._etag = answer.headers.get("etag", "")

    @property
    def size(self) -> int:
        """Bytes that the iteration will yield."""
        return self._size

    def __iter__(self) -> Iterator[Chunk]:
        position = 0
        memory = self._storage.buffers.take(READ_SIZE)
        try:
            buffer = memoryview(memory)
            while count := self._connection.read_into(buffer):
                position += count
                yield buffer[:count]
            return
        except WireError as error:
            logger.debug("get of %s, at %d: %s", self._name, position, error)
        finally:
            self._storage.buffers.give_back(memory)
        with self._storage.sdk.open_rest(self._name, position, self._size - position, self._etag) as rest:
            yield from rest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._storage.client.release(self._connection)


def _prefix(folder: str) -> str:
    """What names in a folder begin with."""
    return f"{folder.strip('/')}/" if folder.strip("/") else ""
