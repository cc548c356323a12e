"""Storing one object: one request when it fits a block, blocks and the request that commits their list otherwise.

Memory: block size x blocks in flight for each put (8 MiB x 4 by default), of which only what is filled is touched; the
storage keeps as many buffers for its next puts. Blocks beyond the 1,000th grow, see parts.part_size.

Blocks that are not committed are invisible. Nothing can remove them but a later put of the same name, or Azure itself a
week after the last of them came.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock

from walpy.errors import ObjectExists, StorageError
from walpy.storage.azure_errors import SDK_ERRORS, code_of, status_of
from walpy.storage.base import PUT_TOKEN, Chunk
from walpy.storage.buffers import Buffers
from walpy.storage.multipart import store_parts
from walpy.storage.parts import Part, PartBody, PartSlots, content_md5, cut

if TYPE_CHECKING:
    from walpy.storage.azure_client import Container

TOKEN_KEY = PUT_TOKEN.replace("-", "_")  # names of metadata are identifiers
# All blocks of a blob, those that WAL-G left unfinished too, must have ids of one length: that of WAL-G.
BLOCK_ID_LENGTH = 64

logger = logging.getLogger(__name__)


class Uploader:
    """Stores objects in one container. Safe for threads."""

    def __init__(self, container: "Container", block_size: int, blocks_in_flight: int) -> None:
        self._container = container
        self._block_size = block_size
        self._blocks_in_flight = blocks_in_flight
        self._buffers = Buffers(block_size * blocks_in_flight)

    def put(self, key: str, chunks: Iterable[Chunk], *, create_only: bool) -> int:
        """Store an object; return its size. Raises ObjectExists when create_only and the name is taken."""
        slots = PartSlots(self._buffers, self._blocks_in_flight)
        upload = BlockUpload(self._container, key, create_only=create_only)
        parts = cut(chunks, self._block_size, slots.take, slots.give_back)
        first, is_last = next(parts)
        if is_last:
            try:
                upload.store_whole(first)
            finally:
                slots.give_back(first.buffer)
            return first.size
        return store_parts(chain([(first, is_last)], parts), upload, slots.give_back, self._blocks_in_flight)

    def copy(self, key: str, source_url: str) -> bool:
        """Have the server copy a blob, create-only; False when it will not.

        source_url: one that the server may read; it holds a secret. Raises ObjectExists, and transient errors.
        """
        try:
            BlockUpload(self._container, key, create_only=True).copy(source_url)
        except ObjectExists:
            raise
        except StorageError as error:
            if error.transient:
                raise
            logger.debug("%s: its bytes are copied instead", error)
            return False
        return True

    def close(self) -> None:
        """Forget the buffers."""
        self._buffers.close()


class BlockUpload:
    """The requests of one object's upload; multipart.PartRequests for one in blocks.

    A random token in the blob's metadata, and in the ids of its blocks, tells after a lost answer whose blob it is.
    """

    def __init__(self, container: "Container", key: str, *, create_only: bool) -> None:
        self._container = container
        self._key = key
        self._create_only = create_only
        self._token = os.urandom(16).hex()
        self._was_tried = False  # an earlier attempt may have stored the blob, and its answer got lost

    @property
    def url(self) -> str:
        """The object, for messages."""
        return self._container.url(self._key)

    def store_whole(self, part: Part) -> None:
        """Store an object of one part. Raises ObjectExists when another one must not be replaced."""
        cancel = threading.Event()  # never set: nobody else works on this object
        try:
            self._put(part, cancel)
        except _Unfinished:
            self.complete(self._token, {1: self.store(self._token, part, cancel)} if part.size else {})

    def _put(self, part: Part, cancel: threading.Event) -> None:
        headers = {"Content-MD5": content_md5(memoryview(part.buffer)[: part.size])}
        headers |= {f"x-ms-meta-{TOKEN_KEY}": self._token}
        if self._create_only:
            headers["If-None-Match"] = "*"
        # The SDK's upload_blob would make a copy, and hand it to the connection as one piece under one time-out.
        operations: Any = self._container.blob(self._key)._client.block_blob

        def request(timeouts: dict[str, Any]) -> None:
            operations.upload(part.size, PartBody(part, cancel), headers=dict(headers), **timeouts)

        self._container.call("put", self._key, lambda timeouts: self._attempt(partial(request, timeouts), timeouts))

    def copy(self, source_url: str) -> None:
        """Have the server copy a blob, in one step: it becomes visible when it is complete."""
        condition: dict[str, Any] = {"match_condition": MatchConditions.IfMissing} if self._create_only else {}
        blob: Any = self._container.blob(self._key)

        def request(timeouts: dict[str, Any]) -> None:
            blob.start_copy_from_url(
                source_url, metadata={TOKEN_KEY: self._token}, requires_sync=True, **condition, **timeouts
            )

        self._container.call("copy", self._key, lambda timeouts: self._attempt(partial(request, timeouts), timeouts))

    def begin(self) -> str:
        """What the ids of the blocks begin with; no request is needed."""
        return self._token

    def store(self, upload_id: str, part: Part, cancel: threading.Event) -> str:
        """Store a block; its id."""
        block_id = upload_id + str(part.number).zfill(BLOCK_ID_LENGTH - len(upload_id))
        headers = {"Content-MD5": content_md5(memoryview(part.buffer)[: part.size])}
        blob: Any = self._container.blob(self._key)

        def request(timeouts: dict[str, Any]) -> None:
            blob.stage_block(block_id, PartBody(part, cancel), part.size, headers=dict(headers), **timeouts)

        self._container.call("put", self._key, request, cancel=cancel)
        return block_id

    def complete(self, upload_id: str, etags: Mapping[int, str]) -> None:  # noqa: ARG002 - the ids have it
        """Make the object of all blocks visible. Raises ObjectExists when another one must not be replaced."""
        blocks = [BlobBlock(etags[number]) for number in sorted(etags)]
        condition: dict[str, Any] = {"match_condition": MatchConditions.IfMissing} if self._create_only else {}
        blob: Any = self._container.blob(self._key)

        def request(timeouts: dict[str, Any]) -> None:
            blob.commit_block_list(blocks, metadata={TOKEN_KEY: self._token}, **condition, **timeouts)

        self._container.call("put", self._key, lambda timeouts: self._attempt(partial(request, timeouts), timeouts))

    def abort(self, upload_id: str, seconds: float) -> None:  # noqa: ARG002 - the protocol's
        """Nothing: no request removes blocks that are not committed without making a blob visible."""
        logger.debug("blocks of %r that were not committed go with its next put, or in a week", self.url)

    def _attempt(self, request: Callable[[], None], timeouts: dict[str, Any]) -> None:
        """Make one attempt at the request that makes the blob visible.

        Raises ObjectExists when another blob has the name, and what request raises otherwise.
        """
        try:
            request()
        except HttpResponseError as error:
            self._settle(error, timeouts)
        except SDK_ERRORS:
            self._was_tried = True
            raise

    def _settle(self, error: HttpResponseError, timeouts: dict[str, Any]) -> None:
        code = code_of(error)
        if self._create_only and (code == "BlobAlreadyExists" or status_of(error) == 412):
            stored = self._stored_token(timeouts)
            if stored is None:
                raise _Unfinished(f"cannot put {self.url!r}: the server has blocks of it without a blob") from error
            if not (self._was_tried and stored == self._token):
                raise self._exists() from error
        elif code == "InvalidBlockList":
            self._settle_vanished(error, timeouts)
        else:
            self._was_tried = True
            raise error

    def _settle_vanished(self, error: HttpResponseError, timeouts: dict[str, Any]) -> None:
        """The blocks are gone: this upload's own earlier attempt, or another put of the same name, took them away."""
        stored = self._stored_token(timeouts)
        if stored == self._token:
            return
        if stored is not None and self._create_only:
            raise self._exists() from error
        raise StorageError(
            f"cannot put {self.url!r}: its blocks are gone", "Something else stores the same object: find out what."
        ) from error

    def _exists(self) -> ObjectExists:
        return ObjectExists(f"object {self.url!r} exists already")

    def _stored_token(self, timeouts: dict[str, Any]) -> str | None:
        """Token of the blob that is there, empty when it has none; None when no blob is there."""
        try:
            found = self._container.blob(self._key).get_blob_properties(**timeouts)
        except HttpResponseError as error:
            if code_of(error) == "BlobNotFound":
                return None
            raise
        return str((found.metadata or {}).get(TOKEN_KEY, ""))


class _Unfinished(StorageError):
    """A name has blocks of an unfinished upload and no blob; some servers refuse to create a whole blob there."""
