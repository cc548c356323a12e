"""An object stored in parts, several of them at a time.

What stays behind when things go wrong: after a kill, the parts so far; after a lost answer to the request that begins
an upload, an upload without parts. Neither is ever visible; discard_unfinished() and bucket lifecycles remove both.
"""

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from walpy.errors import Interrupted, StorageError
from walpy.storage.base import PUT_TOKEN
from walpy.storage.s3_client import shorter
from walpy.storage.s3_errors import code_of
from walpy.storage.s3_parts import Cancelled, Part, PartBody

if TYPE_CHECKING:
    import mmap
    from types import TracebackType

    from walpy.storage.s3_commit import Commit
    from walpy.storage.s3_settings import Writing

CLEAN_UP_SECONDS = 10.0  # how long an upload is taken back after another failure
INTERRUPTED_SECONDS = 0.7  # the same, twice, when a signal wants the command to end within two seconds

logger = logging.getLogger(__name__)

# Sends a part by a request that takes its checksum's parameters: Uploader.send.
Send = Callable[[Part, Callable[[dict[str, str]], Any]], Any]


class MultipartUpload:
    """Stores parts in daemon threads; leaving the context without complete() takes everything back.

    A part's buffer is handed to give_back as soon as the part is stored, or was given up.
    """

    def __init__(
        self,
        commit: "Commit",
        writing: "Writing",
        send: Send,
        give_back: "Callable[[mmap.mmap], None]",
    ) -> None:
        self._commit = commit
        self._writing = writing
        self._bucket = commit.bucket
        self._key = commit.key
        self._client: Any = commit.bucket.client
        self._target = {"Bucket": commit.bucket.name, "Key": commit.key}
        self._send = send
        self._give_back = give_back
        self._upload_id = ""
        self._size = 0
        self._etags: dict[int, str] = {}
        self._queue: SimpleQueue[Part | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._cancel = threading.Event()
        self._error: Exception | None = None
        self._completed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        if not self._completed:
            self._cancel.set()
            self._end_threads()
            self._discard(in_haste=isinstance(error, Interrupted) or not isinstance(error, Exception))

    def store(self, part: Part) -> None:
        """Hand over the next part; raises what an earlier one failed with."""
        if self._error is not None:
            self._give_back(part.buffer)
            raise self._error
        if not self._upload_id:  # begun here, inside the context, so that it cannot be left behind
            self._upload_id = self._begin()
        self._size += part.size
        self._queue.put(part)
        if len(self._threads) < self._writing.parts_in_flight:
            thread = threading.Thread(target=self._work, name=f"s3-part-{part.number}", daemon=True)
            thread.start()
            self._threads.append(thread)  # after: a signal between the two must not leave one that nobody can join

    def complete(self) -> int:
        """Wait for the parts and make the object visible; return its size."""
        self._end_threads()
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(self._etags.items())]

        def request(precondition: dict[str, str]) -> None:
            self._client.complete_multipart_upload(
                **self._target, UploadId=self._upload_id, MultipartUpload={"Parts": parts}, **precondition
            )

        self._bucket.call("put", self._key, lambda: self._commit.attempt(request))
        self._completed = True
        return self._size

    def _begin(self) -> str:
        parameters = {**self._writing.object_parameters(), "Metadata": {PUT_TOKEN: self._commit.token}}
        answer = self._bucket.call(
            "put", self._key, lambda: self._client.create_multipart_upload(**self._target, **parameters)
        )
        return str(answer["UploadId"])

    def _work(self) -> None:
        while (part := self._queue.get()) is not None:
            try:
                self._etags[part.number] = self._store(part)
            except Exception as error:  # noqa: BLE001 - a worker: the error goes to the thread that called put
                self._error = self._error or error
                self._cancel.set()
            finally:
                self._give_back(part.buffer)

    def _store(self, part: Part) -> str:
        def request(checksum: dict[str, str]) -> Any:
            if self._cancel.is_set():
                raise Cancelled("the upload was cancelled")
            return self._client.upload_part(
                **self._target,
                UploadId=self._upload_id,
                PartNumber=part.number,
                Body=PartBody(part, self._cancel),
                **checksum,
                **self._writing.key_parameters(),
            )

        answer = self._bucket.call("put", self._key, lambda: self._send(part, request), cancel=self._cancel)
        return str(answer["ETag"])

    def _end_threads(self) -> None:
        for _ in self._threads:
            self._queue.put(None)

    def _discard(self, *, in_haste: bool) -> None:
        """Abort the upload; a failure is logged, because another error is on its way out.

        Parts on their way end first, if they do so in time: stored after the abort, they would stay.
        """
        if not self._upload_id:
            return
        seconds = INTERRUPTED_SECONDS if in_haste else CLEAN_UP_SECONDS
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        thread = threading.Thread(target=self._abort, args=(seconds,), daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            logger.warning("parts of an unfinished upload may stay in the bucket: %r", self._bucket.url(self._key))

    def _abort(self, seconds: float) -> None:
        def request() -> None:
            try:
                self._client.abort_multipart_upload(**self._target, UploadId=self._upload_id)
            except ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise

        try:
            self._bucket.call("abort the upload of", self._key, request, policy=shorter(self._bucket.policy, seconds))
        except StorageError as error:
            logger.warning("parts of an unfinished upload stay in the bucket: %s", error)
