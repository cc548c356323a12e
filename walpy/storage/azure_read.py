"""Reading one blob: a GET that goes on where it stopped when the connection breaks."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import HttpResponseError

from walpy.errors import DataCorrupt, StorageError, StorageUnavailable
from walpy.storage.azure_errors import SDK_ERRORS, code_of, origin, status_of, walpy_error
from walpy.storage.base import Chunk
from walpy.storage.retry import ResumedReader

if TYPE_CHECKING:
    from walpy.storage.azure_client import Container


class AzureReader(ResumedReader):
    """An ObjectReader of size bytes from offset on; first is the answer that opened it (None: empty).

    Every further GET asks for the same version by its ETag. Memory: two chunks of READ_SIZE.
    """

    def __init__(self, container: "Container", key: str, offset: int, size: int, first: Any = None) -> None:
        super().__init__(container.policy, size, "read")
        self._container = container
        self._key = key
        self._failed = f"cannot read {container.url(key)!r}"
        self._offset = offset
        self._first = first
        self._answer = first  # the one that is being read
        self._etag = first.headers.get("ETag", "") if first is not None else ""

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()

    def _chunks_from(self, position: int) -> Generator[Chunk, None, None]:
        self._answer = answer = self._answer_from(position)
        try:
            for chunk in answer.iter_raw():
                wanted = chunk[: self._size - position]
                position += len(wanted)
                yield wanted
                if position == self._size:
                    return
        except SDK_ERRORS as error:
            raise walpy_error(error, self._failed) from origin(error)
        finally:
            answer.close()
        raise StorageUnavailable(f"{self._failed}: the connection ended too early")

    def _answer_from(self, position: int) -> Any:
        if self._first is not None and position == 0:
            answer, self._first = self._first, None
            return answer
        start = self._offset + position
        last = str(self._offset + self._size - 1)
        headers = {"If-Match": self._etag} if self._etag else {}
        try:
            answer = get(self._container, self._key, start, last, headers, self._container.timeouts())
        except HttpResponseError as error:
            if status_of(error) in (412, 416) or code_of(error) == "BlobNotFound":
                raise DataCorrupt(
                    f"{self._container.url(self._key)!r} was replaced or deleted while it was read"
                ) from error
            raise walpy_error(error, self._failed) from origin(error)
        except SDK_ERRORS as error:
            raise walpy_error(error, self._failed) from origin(error)
        if answer.headers.get("ETag", "") != self._etag:
            answer.close()
            raise DataCorrupt(f"{self._container.url(self._key)!r} was replaced while it was read")
        return answer


def open_blob(container: "Container", key: str, *, offset: int = 0, size: int | None = None) -> AzureReader:
    """Open a blob from offset on, at most size bytes. Raises ObjectMissing when the server says so."""
    # A range of no bytes cannot be asked for: ask for one byte, which tells whether the blob exists.
    last = "" if size is None else str(offset + max(size, 1) - 1)

    def attempt(timeouts: dict[str, Any]) -> Any:
        try:
            return get(container, key, offset, last, {}, timeouts)
        except HttpResponseError as error:
            if status_of(error) == 416:  # the blob exists, and ends before offset
                return None
            raise

    answer = container.call("read", key, attempt)
    if answer is None:
        return AzureReader(container, key, offset, 0)
    length = answer.headers.get("Content-Length", "")
    if not length.isdecimal():
        answer.close()
        raise StorageError(f"cannot read {container.url(key)!r}: the server does not tell its size")
    return AzureReader(container, key, offset, int(length) if size is None else min(int(length), size), answer)


def get(
    container: "Container", key: str, start: int, last: str, headers: dict[str, str], timeouts: dict[str, Any]
) -> Any:
    """The server's answer to one GET, its body unread; last: position of the last byte, empty for all.

    The SDK's own downloader reads a whole range into memory and repeats what failed, so the operation below it is used.
    """
    operations: Any = container.blob(key)._client.blob
    wanted = {"range": f"bytes={start}-{last}"} if start or last else {}
    answer = operations.download(cls=_unread, headers=headers, **wanted, **timeouts)
    if wanted and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        answer.close()
        raise StorageError(f"cannot read {container.url(key)!r}: the server does not support ranges")
    return answer


def _unread(answer: Any, *_: object) -> Any:
    return answer.http_response
