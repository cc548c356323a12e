"""The requests of an upload in parts without the SDK; each whose answer is not plain is made again by the SDK."""

import os
from collections.abc import Mapping
from hashlib import sha256
from threading import Event, Lock
from typing import TYPE_CHECKING

from walpy.errors import ObjectExists
from walpy.storage.parts import Cancelled, Part
from walpy.storage.s3_pages import plain_text
from walpy.storage.s3_wire import NO_CONTENT, OK, PRECONDITION_FAILED

if TYPE_CHECKING:
    from walpy.storage.multipart import PartRequests
    from walpy.storage.s3_direct import DirectS3

COMPLETED, FAILED = b"<CompleteMultipartUploadResult", b"<Error"  # a failure may come with status 200
GONE = b"<Code>NoSuchUpload</Code>"
SPECIAL = frozenset("<>&")  # what XML would have to escape


class DirectPartRequests:
    """PartRequests of one object. Safe for threads."""

    def __init__(self, storage: "DirectS3", name: str, *, create_only: bool) -> None:
        self._storage = storage
        self._name = name
        self._create_only = create_only
        self._token = os.urandom(16).hex()
        self._lock = Lock()
        self._sdk: PartRequests | None = None

    @property
    def url(self) -> str:
        """The object, for messages."""
        return self._storage.url + self._name

    def begin(self) -> str:
        """Begin an upload; its id."""
        headers = self._storage.put_headers(self._token, create_only=False)
        status, answer, _ = self._storage.exchange("POST", self._name, headers, query={"uploads": ""})
        try:
            return plain_text(answer.decode() if status == OK else "", "UploadId")
        except ValueError:
            return self._others().begin()

    def store(self, upload_id: str, part: Part, cancel: Event) -> str:
        """Store a part; its ETag. Raises Cancelled once cancel is set."""
        body = memoryview(part.buffer)[: part.size]
        query = {"partNumber": str(part.number), "uploadId": upload_id}
        status, _, headers = self._storage.exchange(
            "PUT", self._name, {}, query=query, body=body, body_hash=sha256(body).hexdigest(), cancel=cancel
        )
        if cancel.is_set():
            raise Cancelled("the upload was cancelled")
        etag = headers.get("etag", "") if status == OK else ""
        return etag if etag and not SPECIAL & set(etag) else self._others().store(upload_id, part, cancel)

    def complete(self, upload_id: str, etags: Mapping[int, str]) -> None:
        """Make the object visible. Raises ObjectExists when another one has the name and create_only says so."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in sorted(etags.items())
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        headers = {"if-none-match": "*"} if self._create_only else {}
        status, answer, _ = self._storage.exchange(
            "POST",
            self._name,
            headers,
            query={"uploadId": upload_id},
            body=memoryview(body),
            body_hash=sha256(body).hexdigest(),
        )
        if status == PRECONDITION_FAILED and self._create_only:
            raise ObjectExists(f"object {self.url!r} exists already")
        if status != OK or COMPLETED not in answer or FAILED in answer:
            self._others().complete(upload_id, etags)

    def abort(self, upload_id: str, seconds: float) -> None:
        """Remove the upload."""
        status, answer, _ = self._storage.exchange("DELETE", self._name, {}, query={"uploadId": upload_id})
        if status != NO_CONTENT and GONE not in answer:
            self._others().abort(upload_id, seconds)

    def _others(self) -> "PartRequests":
        """The SDK's requests of the same upload."""
        with self._lock:
            if self._sdk is None:
                self._sdk = self._storage.sdk.part_requests(
                    self._name, create_only=self._create_only, token=self._token
                )
            return self._sdk
