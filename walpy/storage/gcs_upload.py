"""One upload to Google Cloud Storage: a stream of unknown length, from one buffer.

A stream that fits the buffer is one multipart request. A longer one is a resumable session: each time the buffer is
full it is sent, and kept until the server says how much of it is safe; what is not is sent again. The object appears
when the last request succeeds, never before, and there are no temporary objects.

Memory: one Buffer for each put that runs at the same time, plus SEND_SIZE.
"""

import json
import logging
import mmap
import re
import secrets
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from queue import Empty, SimpleQueue

import google_crc32c
import requests

from walpy.errors import DataCorrupt, ObjectExists, ObjectMissing, StorageUnavailable, WalpyError
from walpy.storage.base import PUT_TOKEN, Chunk
from walpy.storage.gcs_http import SEND_SIZE, Body, Bucket
from walpy.storage.retry import Deadline

GRANULE = 256 << 10  # bytes; all requests of a session but the last carry a multiple of it
CANCEL_TIMEOUT = 1.0  # seconds; a session that is not cancelled is invisible, and expires after a week
CONTENT_TYPE = "application/octet-stream"

ANSWER_FIELDS = "size,generation,crc32c"
COMMITTED_RANGE = re.compile(r"bytes=0-(\d+)")
CLIENT_CLOSED_REQUEST = 499  # how the server confirms that a session is cancelled

CREATED = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.PRECONDITION_FAILED)
SESSION_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
IN_SESSION = (*CREATED, *SESSION_GONE, HTTPStatus.PERMANENT_REDIRECT)

logger = logging.getLogger(__name__)


def encode_crc(crc: int) -> str:
    """A CRC32C as Google writes it: base64 of four bytes, big end first."""
    return b64encode(crc.to_bytes(4, "big")).decode()


class Buffer:
    """The part of a stream that the server may not have yet. capacity: bytes, a multiple of GRANULE.

    Page-aligned memory, reused from put to put: fresh memory costs as much as compressing what it holds.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._memory = mmap.mmap(-1, capacity)
        self.clear()

    def clear(self) -> None:
        """Forget everything; the next byte is a stream's first."""
        self.start = 0  # position in the stream of the first byte held
        self.size = 0  # bytes held

    @property
    def end(self) -> int:
        """Position in the stream after the last byte held."""
        return self.start + self.size

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        return self.capacity - self.size

    def append(self, piece: bytes) -> None:
        """Hold one more piece, of at most `free` bytes."""
        self._memory[self.size : self.size + len(piece)] = piece
        self.size += len(piece)

    def release(self, position: int) -> None:
        """Drop what lies before a position in the stream: the server has it."""
        count = position - self.start
        self.size -= count
        self.start = position
        if self.size:
            self._memory.move(0, count, self.size)

    def view(self) -> memoryview:
        """What is held; valid until the next append or release."""
        return memoryview(self._memory)[: self.size]


class BufferPool:
    """Buffers of one capacity, as many as there are puts at the same time."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._idle: SimpleQueue[Buffer] = SimpleQueue()

    @contextmanager
    def lend(self) -> Iterator[Buffer]:
        """An empty buffer, for the time of one put."""
        try:
            buffer = self._idle.get_nowait()
        except Empty:
            buffer = Buffer(self._capacity)
        buffer.clear()
        try:
            yield buffer
        finally:
            self._idle.put(buffer)


class Upload:
    """One put: write() as often as there are chunks, then finish(); cancel() on any error. Serves one thread."""

    def __init__(self, bucket: Bucket, key: str, name: str, buffer: Buffer, *, create_only: bool) -> None:
        self._bucket = bucket
        self._key = key
        self._name = name
        self._what = f"upload of {bucket.shown(key)!r}"
        self._buffer = buffer
        self._token = secrets.token_hex(16)
        self._query = {"name": key, "fields": ANSWER_FIELDS}
        if create_only:
            self._query["ifGenerationMatch"] = "0"
        self._crc = 0
        self._session = ""  # address of the resumable session
        self._unsure = False  # a request of the session went out whose answer never came
        self._lost = False  # the session is gone
        self._asked = False  # a request went out that may create the object
        self._asked_before = False  # the same before the latest one

    def write(self, chunk: Chunk) -> None:
        """Take a chunk, of any size; sends the buffer when it is full and there is more to come."""
        view = memoryview(chunk)
        while len(view):
            if not self._buffer.free:
                self._send(last=False)
            piece = bytes(view[: min(self._buffer.free, SEND_SIZE)])
            self._crc = google_crc32c.extend(self._crc, piece)
            self._buffer.append(piece)
            view = view[len(piece) :]

    def finish(self) -> int:
        """Send the rest; give the object's size. Raises DataCorrupt when the server stored something else."""
        size = self._buffer.end
        if self._session:
            answer = self._send(last=True)
        else:
            answer = self._bucket.repeat(self._put_whole, self._what)
        self._session = ""
        self._verify(answer, size)
        return size

    def cancel(self) -> None:
        """Have the server forget the session, if there is one; failure is of no consequence."""
        if not self._session or self._lost:
            return
        try:
            self._bucket.request(
                "DELETE",
                self._session,
                what=f"cancelling the {self._what}",
                accept=(CLIENT_CLOSED_REQUEST, HTTPStatus.NO_CONTENT, *SESSION_GONE),
                timeout=CANCEL_TIMEOUT,
            )
        except WalpyError as error:
            logger.debug("%s", error)

    # one request

    def _put_whole(self, deadline: Deadline) -> Mapping[str, object]:
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
            f"{json.dumps({**self._resource(), 'crc32c': encode_crc(self._crc)})}\r\n"
            f"--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n"
        )
        response = self._create(
            "POST",
            self._bucket.upload_url,
            deadline=deadline,
            params={"uploadType": "multipart", **self._query},
            headers={"Content-Type": f"multipart/related; boundary={boundary}", **self._bucket.key_headers},
            body=Body(head.encode(), self._buffer.view(), f"\r\n--{boundary}--\r\n".encode()),
        )
        return self._answer(response, deadline)

    # a session

    def _send(self, *, last: bool) -> Mapping[str, object]:
        """Send the buffer until some of it is safe, or until the object is there when it is the last."""
        deadline = self._bucket.policy.start()
        step = partial(self._step, deadline, last=last)
        while True:
            answer = self._bucket.policy.call(step, what=self._what, deadline=deadline)
            if self._lost:
                raise StorageUnavailable(f"{self._what} failed: the server lost the upload session")
            if answer is not None and not last:
                raise DataCorrupt(f"{self._what} failed: the server took a part for the whole object")
            if answer is not None or not last:
                return answer or {}
            deadline.restart()  # some of the last part is safe

    def _step(self, deadline: Deadline, *, last: bool) -> Mapping[str, object] | None:
        """One attempt to send the buffer; the object's description when that completed it."""
        if not self._session:
            self._begin(deadline)
        total = str(self._buffer.end) if last else "*"
        if self._unsure:
            answer = self._exchange(b"", f"bytes */{total}", deadline, last=last)
            if answer is not None or self._lost or (self._buffer.free and not last):
                return answer
        before = self._buffer.start
        if self._buffer.size:
            content_range = f"bytes {before}-{self._buffer.end - 1}/{total}"
            answer = self._exchange(Body(self._buffer.view()), content_range, deadline, last=last)
        else:
            answer = self._exchange(b"", f"bytes */{total}", deadline, last=last)
        if answer is None and not self._lost and self._buffer.start == before:
            raise StorageUnavailable("the server kept nothing of what it was sent")
        return answer

    def _begin(self, deadline: Deadline) -> None:
        response = self._bucket.request(
            "POST",
            self._bucket.upload_url,
            what=self._what,
            accept=CREATED,
            deadline=deadline,
            params={"uploadType": "resumable", **self._query},
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Type": CONTENT_TYPE,
                **self._bucket.key_headers,
            },
            body=json.dumps(self._resource()).encode(),
        )
        if response.status_code == HTTPStatus.PRECONDITION_FAILED:
            raise self._exists()
        self._session = response.headers.get("Location", "")
        if not self._session:
            raise StorageUnavailable("the server gave no address for the upload session")

    def _exchange(
        self, body: Body | bytes, content_range: str, deadline: Deadline, *, last: bool
    ) -> Mapping[str, object] | None:
        """One request of the session: drops from the buffer what the server has; its description of the object."""
        headers = {"Content-Type": CONTENT_TYPE, "Content-Range": content_range, **self._bucket.key_headers}
        if last:
            headers["X-Goog-Hash"] = f"crc32c={encode_crc(self._crc)}"  # the server compares before it creates
        self._unsure = True
        response = self._create("PUT", self._session, deadline=deadline, headers=headers, body=body, accept=IN_SESSION)
        answer: Mapping[str, object] | None = None
        if response.status_code == HTTPStatus.PERMANENT_REDIRECT:
            self._buffer.release(self._committed(response))
        elif response.status_code in SESSION_GONE:
            answer = self._own_object(deadline)
            self._lost = answer is None
        else:
            answer = self._answer(response, deadline)
        self._unsure = False
        return answer

    def _committed(self, response: requests.Response) -> int:
        """Position in the stream up to which the server has it."""
        found = COMMITTED_RANGE.fullmatch(response.headers.get("Range", ""))
        position = int(found[1]) + 1 if found else 0
        if not self._buffer.start <= position <= self._buffer.end:
            raise DataCorrupt(
                f"{self._what} failed: the server has {position} bytes, which is not between {self._buffer.start}"
                f" and {self._buffer.end}"
            )
        return position

    # either

    def _resource(self) -> dict[str, object]:
        return {"name": self._key, "contentType": CONTENT_TYPE, "metadata": {PUT_TOKEN: self._token}}

    def _create(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str],
        body: Body | bytes,
        params: Mapping[str, str] | None = None,
        accept: Collection[int] = CREATED,
    ) -> requests.Response:
        """A request that may create the object."""
        self._asked_before, self._asked = self._asked, True
        return self._bucket.request(
            method,
            url,
            what=self._what,
            accept=accept,
            deadline=deadline,
            params=params,
            headers=headers,
            body=body,
        )

    def _answer(self, response: requests.Response, deadline: Deadline) -> Mapping[str, object]:
        """The object's description. Raises ObjectExists when another put's object is there."""
        if response.status_code != HTTPStatus.PRECONDITION_FAILED:
            return self._bucket.document(response, self._what)
        # The object may be ours: an earlier attempt created it, and its answer was lost.
        found = self._own_object(deadline) if self._asked_before else None
        if found is None:
            raise self._exists()
        return found

    def _own_object(self, deadline: Deadline) -> Mapping[str, object] | None:
        try:
            found = self._bucket.metadata(self._key, self._name, deadline)
        except ObjectMissing:
            return None
        metadata = found.get("metadata")
        return found if isinstance(metadata, dict) and metadata.get(PUT_TOKEN) == self._token else None

    def _exists(self) -> ObjectExists:
        return ObjectExists(f"object {self._name!r} already exists in bucket {self._bucket.name!r}")

    def _verify(self, answer: Mapping[str, object], size: int) -> None:
        sent = (str(size), encode_crc(self._crc))
        stored = (str(answer.get("size", sent[0])), str(answer.get("crc32c", sent[1])))
        if stored == sent:
            return
        generation = str(answer.get("generation", ""))
        self._bucket.repeat(partial(self._bucket.delete, self._key, self._name, generation=generation), self._what)
        raise DataCorrupt(
            f"{self._what} failed: sent {sent[0]} bytes with CRC32C {sent[1]},"
            f" but the server stored {stored[0]} bytes with {stored[1]}",
            "The data changed on its way to the storage; nothing was kept. Try again.",
        )
