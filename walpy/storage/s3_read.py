"""Reading one object of a bucket: a GET that goes on where it stopped when the connection breaks."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from walpy.errors import DataCorrupt, StorageError, StorageUnavailable
from walpy.storage.base import READ_SIZE, Chunk
from walpy.storage.retry import ResumedReader
from walpy.storage.s3_errors import SDK_ERRORS, code_of, status_of, walpy_error

if TYPE_CHECKING:
    from walpy.storage.s3_client import Bucket


@dataclass(frozen=True, slots=True)
class Source:
    """An object to read; parameters: the customer's key, when objects are encrypted with one."""

    bucket: "Bucket"
    key: str
    parameters: dict[str, str]

    @property
    def url(self) -> str:
        """The object, for messages."""
        return self.bucket.url(self.key)

    def get(self, **wanted: str) -> Any:
        """The server's answer to one GET."""
        client: Any = self.bucket.client
        return client.get_object(Bucket=self.bucket.name, Key=self.key, **self.parameters, **wanted)


class S3Reader(ResumedReader):
    """An ObjectReader of size bytes from offset on; first is the answer of the GET that opened it (None: empty).

    Every further GET asks for the same version by its ETag. Memory: two chunks of READ_SIZE.
    """

    def __init__(self, source: Source, offset: int, size: int, first: Any = None, *, etag: str = "") -> None:
        super().__init__(source.bucket.policy, size, "read")
        self._source = source
        self._offset = offset
        self._first = first
        self._body: Any = first["Body"] if first else None  # of the answer that is being read
        self._etag = first.get("ETag", "") if first else etag

    def _close(self) -> None:
        if self._body is not None:
            self._body.close()

    def _chunks_from(self, position: int) -> Generator[Chunk, None, None]:
        self._body = body = self._answer_from(position)["Body"]
        try:
            while position < self._size:
                chunk = self._read(body, min(READ_SIZE, self._size - position))
                position += len(chunk)
                yield chunk
        finally:
            body.close()

    def _read(self, body: Any, size: int) -> bytes:
        try:
            chunk: bytes = body.read(size)
        except SDK_ERRORS as error:
            raise walpy_error(error, f"cannot read {self._source.url!r}") from error
        if not chunk:
            raise StorageUnavailable(f"cannot read {self._source.url!r}: the connection ended too early")
        return chunk

    def _answer_from(self, position: int) -> Any:
        if self._first is not None and position == 0:
            answer, self._first = self._first, None
            return answer
        start = self._offset + position
        same_version = {"IfMatch": self._etag} if self._etag else {}
        try:
            answer = self._source.get(Range=f"bytes={start}-{self._offset + self._size - 1}", **same_version)
        except ClientError as error:
            if status_of(error) in (412, 416) or code_of(error) == "NoSuchKey":
                raise DataCorrupt(f"{self._source.url!r} was replaced or deleted while it was read") from error
            raise walpy_error(error, f"cannot read {self._source.url!r}") from error
        except SDK_ERRORS as error:
            raise walpy_error(error, f"cannot read {self._source.url!r}") from error
        if answer.get("ETag", "") != self._etag:
            answer["Body"].close()
            raise DataCorrupt(f"{self._source.url!r} was replaced while it was read")
        check_range(answer, start, self._source.url)
        return answer


def open_object(source: Source, *, offset: int = 0, size: int | None = None, action: str = "read") -> S3Reader:
    """Open an object from offset on, at most size bytes. Raises ObjectMissing when the server says so.

    action: what it is opened for, for messages.
    """
    wanted: dict[str, str] = {}
    if offset or size is not None:
        # A range of no bytes cannot be asked for: ask for one byte, which tells whether the object exists.
        last = "" if size is None else offset + max(size, 1) - 1
        wanted["Range"] = f"bytes={offset}-{last}"

    def get() -> Any:
        try:
            answer = source.get(**wanted)
        except ClientError as error:
            if status_of(error) == 416:  # the object exists, and ends before offset
                return None
            raise
        if offset:
            check_range(answer, offset, source.url)
        return answer

    answer = source.bucket.call(action, source.key, get)
    if answer is None:
        return S3Reader(source, offset, 0)
    length = int(answer["ContentLength"])
    return S3Reader(source, offset, length if size is None else min(length, size), answer)


def explain_refusal(source: Source) -> None:
    """Find out why a HEAD failed, which has no body to tell: raises what a GET of one byte raises.

    Only the code NoSuchKey proves that an object is missing: a missing bucket, wrong credentials and a wrong endpoint
    can all answer a HEAD with the same status. Returns when the object is there after all.
    """
    with open_object(source, size=0, action="look up"):
        pass


def check_range(answer: Any, start: int, url: str) -> None:
    """Raise StorageError when a server did not begin where it was asked to."""
    if not str(answer.get("ContentRange", "")).startswith(f"bytes {start}-"):
        answer["Body"].close()
        raise StorageError(f"cannot read {url!r}: the server does not support ranges")
