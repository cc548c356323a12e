"""Storing one object: a PutObject for a small one, a multipart upload otherwise.

Memory, of which only what is filled is touched, for each put: the largest object of one request (20 MiB by default),
then part size x parts in flight (8 MiB x 4); the storage keeps as many buffers for its next puts. Parts beyond the
1,000th grow, see parts.part_size.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from walpy.errors import AccessDenied, ObjectMissing
from walpy.storage.base import PUT_TOKEN, Chunk
from walpy.storage.buffers import Buffers
from walpy.storage.multipart import store_parts
from walpy.storage.parts import Part, PartBody, PartSlots, content_md5, cut, gather
from walpy.storage.s3_commit import Commit, Preconditions
from walpy.storage.s3_part_requests import SdkPartRequests

if TYPE_CHECKING:
    from walpy.storage.s3_client import Bucket
    from walpy.storage.s3_settings import Writing

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Uploader:
    """Stores objects in one bucket; remembers what its server cannot do. Safe for threads."""

    def __init__(self, bucket: "Bucket", writing: "Writing") -> None:
        self._bucket = bucket
        self._writing = writing
        self._buffers = Buffers(writing.whole_size + writing.part_size * writing.parts_in_flight)
        self._sends_md5 = writing.retention_seconds is not None  # S3 insists on it with object lock
        self._preconditions = Preconditions()

    def put(self, key: str, chunks: Iterable[Chunk], *, create_only: bool, earlier_token: str = "") -> int:
        """Store an object; return its size. Raises ObjectExists when create_only and the key is taken.

        earlier_token: of a put of the same object that got no answer, and may have succeeded.
        """
        commit = self._commit(key, create_only=create_only, token=earlier_token)
        buffer = self._buffers.take(self._writing.whole_size)
        try:
            size, stream = gather(chunks, buffer, lambda _: None)
            if stream is None:
                self._put_whole(Part(1, buffer, size), commit)
                return size
            return self._put_parts(stream, commit)
        finally:
            self._buffers.give_back(buffer)

    def _put_parts(self, chunks: Iterable[Chunk], commit: Commit) -> int:
        in_flight = self._writing.parts_in_flight
        slots = PartSlots(self._buffers, in_flight)
        parts = cut(chunks, self._writing.part_size, slots.take, slots.give_back)
        requests = SdkPartRequests(commit, self._writing, self.send)
        return store_parts(parts, requests, slots.give_back, in_flight)

    def copy(self, key: str, source_bucket: str, source_key: str) -> bool:
        """Have the server copy an object, create-only; False when these credentials may not read it.

        Raises ObjectExists, StorageError.
        """
        client: Any = self._bucket.client
        commit = self._commit(key, create_only=True, token="")

        def request(precondition: dict[str, str]) -> None:
            commit.look_first()  # not every server that knows the precondition knows it here
            client.copy_object(
                Bucket=self._bucket.name,
                Key=key,
                CopySource={"Bucket": source_bucket, "Key": source_key},
                MetadataDirective="REPLACE",
                Metadata={PUT_TOKEN: commit.token},
                **precondition,
                **self._writing.object_parameters(),
            )

        try:
            self._bucket.call("copy", key, lambda: commit.attempt(request))
        except (AccessDenied, ObjectMissing) as error:
            logger.debug("%s: its bytes are copied instead", error)
            return False
        return True

    def part_requests(self, key: str, *, create_only: bool, token: str) -> SdkPartRequests:
        """Requests of an upload that began, or failed to, elsewhere; token: of the object's metadata."""
        return SdkPartRequests(self._commit(key, create_only=create_only, token=token), self._writing, self.send)

    def _commit(self, key: str, *, create_only: bool, token: str) -> Commit:
        return Commit(
            self._bucket,
            key,
            create_only=create_only,
            preconditions=self._preconditions,
            key_parameters=self._writing.key_parameters(),
            earlier_token=token,
        )

    def send(self, part: Part, request: Callable[[dict[str, str]], T]) -> T:
        """Result of request, which sends a part and takes the parameters of its checksum.

        Content-MD5 is sent when the server asks for it, as it does for a bucket with a default retention.
        """
        checksum = self._checksum(part)
        try:
            return request(checksum)
        except ClientError as error:
            if checksum or "Content-MD5" not in str(error):
                raise
        self._sends_md5 = True
        return request(self._checksum(part))

    def close(self) -> None:
        """Forget the buffers."""
        self._buffers.close()

    def _checksum(self, part: Part) -> dict[str, str]:
        return {"ContentMD5": content_md5(memoryview(part.buffer)[: part.size])} if self._sends_md5 else {}

    def _put_whole(self, part: Part, commit: Commit) -> None:
        client: Any = self._bucket.client
        cancel = threading.Event()  # never set: nobody else works on this object
        parameters = self._writing.object_parameters()
        if commit.create_only:
            parameters["Metadata"] = {PUT_TOKEN: commit.token}

        def request(precondition: dict[str, str]) -> None:
            self.send(
                part,
                lambda checksum: client.put_object(
                    Bucket=self._bucket.name,
                    Key=commit.key,
                    Body=PartBody(part, cancel),
                    **checksum,
                    **precondition,
                    **parameters,
                ),
            )

        self._bucket.call("put", commit.key, lambda: commit.attempt(request))
