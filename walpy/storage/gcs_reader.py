"""GcsReader: the bytes of one object of Google Cloud Storage, as they are stored."""

import re
from collections.abc import Generator, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Self

import google_crc32c
import requests

from walpy.errors import DataCorrupt, StorageError, StorageUnavailable
from walpy.storage.base import READ_SIZE, Chunk
from walpy.storage.gcs_errors import FAILURES, origin, translate
from walpy.storage.gcs_http import Bucket
from walpy.storage.gcs_upload import encode_crc
from walpy.storage.retry import Deadline

CONTENT = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
CONTENT_RANGE = re.compile(r"bytes \S+/(\d+)")
CRC_HEADER = re.compile(r"crc32c=([^,\s]+)")


class GcsReader:
    """An ObjectReader that stays with the generation it opened.

    Opens in its constructor, where it raises ObjectMissing. A broken connection is followed by a request for the rest
    of the same generation. Read as a whole, the object is compared with its CRC32C. Memory: one chunk.
    """

    def __init__(self, bucket: Bucket, key: str, name: str, *, offset: int, size: int | None) -> None:
        self._bucket = bucket
        self._key = key
        self._name = name
        self._what = f"download of {bucket.shown(key)!r}"
        self._offset = offset
        self._size = size
        self._generation = ""
        self._total = 0  # bytes of the whole object
        self._crc = ""  # of the whole object, when that is what will be read
        self._response: requests.Response | None = None
        bucket.repeat(self._open, self._what)

    @property
    def size(self) -> int:
        """Bytes that the iteration will yield."""
        rest = max(0, self._total - self._offset)
        return rest if self._size is None else min(rest, self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def __iter__(self) -> Iterator[Chunk]:
        crc = 0
        for chunk in self._bucket.policy.resume(self._chunks_from, what=self._what):
            if self._crc:
                crc = google_crc32c.extend(crc, chunk)
            yield chunk
        if self._crc and encode_crc(crc) != self._crc:
            raise DataCorrupt(f"{self._what} failed: CRC32C is {encode_crc(crc)}, stored with {self._crc}")

    def _open(self, deadline: Deadline) -> None:
        self._generation = ""
        if self._size == 0:
            self._total = int(str(self._bucket.metadata(self._key, self._name, deadline)["size"]))
            return
        response = self._get(0, deadline)
        if response.status_code == HTTPStatus.NOT_FOUND:
            with response:
                raise self._bucket.missing(self._name, response, deadline)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            response.close()  # the object exists, and ends before the offset
            return
        if not self._generation and "X-Goog-Generation" not in response.headers:
            response.close()  # without it, a second request could be answered from another generation
            self._generation = str(self._bucket.metadata(self._key, self._name, deadline)["generation"])
            response = self._get(0, deadline)
        self._generation = response.headers.get("X-Goog-Generation", self._generation)
        self._total = self._total_of(response)
        if self._offset == 0 and self.size == self._total:
            found = CRC_HEADER.search(response.headers.get("X-Goog-Hash", ""))
            self._crc = found[1] if found else ""
        self._response = response

    def _get(self, position: int, deadline: Deadline | None = None) -> requests.Response:
        """Ask for what is wanted, from a position in it."""
        headers = dict(self._bucket.key_headers)
        start = self._offset + position
        if start or self._size is not None:
            headers["Range"] = f"bytes={start}-{'' if self._size is None else self._offset + self._size - 1}"
        response = self._bucket.request(
            "GET",
            self._bucket.object_url(self._key),
            what=self._what,
            accept=(*CONTENT, HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
            deadline=deadline,
            params={"alt": "media"} | ({"generation": self._generation} if self._generation else {}),
            headers=headers,
            stream=True,
        )
        if start and response.status_code == HTTPStatus.OK:
            response.close()
            raise StorageError(f"{self._what} failed: the server ignores ranges")
        return response

    def _total_of(self, response: requests.Response) -> int:
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        size = found[1] if found else response.headers.get("Content-Length", "")
        if not size.isdecimal():
            response.close()
            raise StorageUnavailable("the server did not tell the object's size")
        return int(size)

    def _chunks_from(self, position: int) -> Generator[Chunk, None, None]:
        end = self.size
        if position >= end:
            return
        response = self._response or self._reopen(position)
        self._response = response
        try:
            while position < end:
                chunk = response.raw.read(min(READ_SIZE, end - position), decode_content=False)
                if not chunk:
                    raise StorageUnavailable(f"the connection ended after {position} of {end} bytes")
                position += len(chunk)
                yield chunk
        except FAILURES as error:
            raise translate(error, self._what) from origin(error)
        finally:
            self._drop()

    def _reopen(self, position: int) -> requests.Response:
        response = self._get(position)
        if response.status_code in CONTENT and self._total_of(response) == self._total:
            return response
        response.close()
        raise DataCorrupt(f"{self._what} failed: the object changed while it was read")

    def _drop(self) -> None:
        """Close the connection, unless its answer was read to the end: then others use it already."""
        if self._response is not None:
            self._response.close()
            self._response = None
