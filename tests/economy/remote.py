"""An archive on a server of tests, and the requests that it has seen since they were last asked for."""

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from tests.fixtures import gcs_server, s3_server
from walpy.archive import Archive, open_archive
from walpy.config import Config


class Remote:
    """One server; a context manager. Requests are `put`, `get`, `list`, `head` or the method and path of another."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._count = 0

    def config(self, **settings: str) -> Config:
        """Configuration of an archive on it."""
        raise NotImplementedError

    def seen(self) -> list[str]:
        """All requests so far."""
        raise NotImplementedError

    def archive(self, **settings: str) -> Archive:
        """The archive, as a new process opens it."""
        archive = open_archive(self.config(**settings))
        self._stack.callback(archive.close)
        return archive

    def asked(self) -> list[str]:
        """The requests since the last call."""
        seen = self.seen()
        new, self._count = seen[self._count :], len(seen)
        return new

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class S3(Remote):
    """On moto."""

    def __init__(self) -> None:
        super().__init__()
        self.server = self._stack.enter_context(s3_server.S3Server())
        self._bucket = self.server.new_bucket()

    def config(self, **settings: str) -> Config:
        return s3_server.settings(self.server.url, self._bucket, **settings)

    def fill(self, names: Iterable[str]) -> None:
        """Have the server hold further objects, without requests."""
        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for name in names:
            backend.put_object(self._bucket, f"cluster/{name}", b"x")

    def seen(self) -> list[str]:
        return [request.operation.replace("GET ?list-type", "LIST").lower() for request in self.server.requests]


class Gcs(Remote):
    """On the emulator of Google Cloud Storage."""

    def __init__(self) -> None:
        super().__init__()
        self.server = self._stack.enter_context(gcs_server.GcsServer())

    def config(self, **settings: str) -> Config:
        return gcs_server.settings(self.server.url, **settings)

    def seen(self) -> list[str]:
        return [_operation(request) for request in self.server.requests]


def _operation(request: gcs_server.Seen) -> str:
    path, _, query = request.path.partition("?")
    if request.method == "POST" and "uploadType=multipart" in query:
        return "put"
    if request.method == "GET" and path.endswith("/o"):
        return "list"
    if request.method == "GET":
        return "get" if "alt=media" in query else "head"
    return f"{request.method} {path}"
