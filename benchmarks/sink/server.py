"""The sink's HTTP side: one thread for each connection, kept alive; requests are counted by operation."""

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.sink import messages
from benchmarks.sink.bodies import Reader, requested_range, send
from benchmarks.sink.store import Held, Piece, Store

RECEIVED = "bytes received"  # counted beside the operations

# For the harness, and not counted.
COUNTS_TARGET = "/-/counts"  # the counters as JSON
OBJECTS_TARGET = "/-/objects/"  # with a prefix of "bucket/key" behind it: removes those objects
STATUS_TEXT = {100: "Continue", 200: "OK", 204: "No Content", 206: "Partial Content", 404: "Not Found"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its body received: a piece where it becomes part of an object, bytes elsewhere."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    operation: str
    piece: Piece | None = None
    text: bytes = b""

    @property
    def name(self) -> str:
        """What the store calls the object."""
        return f"{self.bucket}/{self.key}"

    @property
    def is_new_only(self) -> bool:
        """Whether an existing object must stay."""
        return self.headers.get("if-none-match") == "*"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and a body: text, or size bytes of an object from start on."""

    status: int = 200
    text: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    held: Held | None = None
    start: int = 0
    size: int = 0


def failure(status: int, code: str) -> Answer:
    """An error of S3."""
    return Answer(status, messages.error_answer(code).encode())


class Sink:
    """A listening server; `port` is chosen by the system when 0 is given."""

    def __init__(self, store: Store, port: int = 0) -> None:
        self.store = store
        self.counts: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._is_closed = False
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Accept connections until close() is called."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except ConnectionAbortedError:  # by the client, before it was accepted
                continue
            except OSError:
                if self._is_closed:
                    return
                raise
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop listening; connections end with their clients."""
        self._is_closed = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _converse(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while head := reader.until(b"\r\n\r\n"):
                self._serve_one(connection, reader, head.decode("latin-1"))
        except (OSError, ValueError):  # the client went away, or does not speak HTTP
            pass
        finally:
            reader.close()
            connection.close()

    def _serve_one(self, connection: socket.socket, reader: Reader, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if target == COUNTS_TARGET:
            answer = self._counted()
        elif target.startswith(OBJECTS_TARGET):
            self.store.forget(target.removeprefix(OBJECTS_TARGET))
            answer = Answer(204)
        else:
            request = self._receive(reader, method, target, headers)
            self._count(request)
            answer = OPERATIONS.get(request.operation, unknown)(self.store, request)
        respond(connection, answer, has_body=method != "HEAD")

    def _receive(self, reader: Reader, method: str, target: str, headers: Mapping[str, str]) -> Request:
        bucket, key, query = messages.split_target(target)
        name = messages.operation(method, key, query)
        size = int(headers.get("content-length", "0"))
        is_chunked = "chunked" in headers.get("transfer-encoding", "")
        is_aws_chunked = headers.get("x-amz-content-sha256", "").startswith("STREAMING-")
        piece, text = None, b""
        if name in ("put", "part"):
            path = self.store.new_file()
            is_framed = is_chunked or is_aws_chunked
            piece = reader.chunked_into_file(path) if is_framed else reader.into_file(path, size)
        elif size:
            text = reader.read(size)
        return Request(method, bucket, key, query, headers, name, piece, text)

    def _count(self, request: Request) -> None:
        with self._count_lock:
            self.counts[request.operation] += 1
            self.counts[RECEIVED] += request.piece.size if request.piece else len(request.text)

    def _counted(self) -> Answer:
        with self._count_lock:
            return Answer(text=json.dumps(self.counts).encode())


def respond(connection: socket.socket, answer: Answer, *, has_body: bool) -> None:
    """Send an answer; without its body when has_body is false."""
    size = answer.size if answer.held else len(answer.text)
    lines = [f"HTTP/1.1 {answer.status} {STATUS_TEXT.get(answer.status, 'Error')}"]
    lines += ["x-amz-request-id: 0", f"Content-Length: {size}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    connection.sendall(head + (answer.text if has_body else b""))
    if answer.held and has_body:
        send(connection, answer.held, answer.start, answer.size)


def put(store: Store, request: Request) -> Answer:
    """PutObject, conditional or not; a copy is not served."""
    if "x-amz-copy-source" in request.headers or request.piece is None:
        return failure(501, "NotImplemented")
    held = store.put(request.name, (request.piece,), is_new_only=request.is_new_only)
    return Answer(headers={"ETag": f'"{held.etag}"'}) if held else failure(412, "PreconditionFailed")


def get(store: Store, request: Request) -> Answer:
    """GetObject with an optional range, and HeadObject."""
    held = store.get(request.name)
    if held is None:
        return failure(404, "NoSuchKey")
    facts = {"ETag": f'"{held.etag}"', "Last-Modified": messages.http_date(held.modified), "Accept-Ranges": "bytes"}
    wanted = request.headers.get("range")
    if wanted is None:
        return Answer(headers=facts, held=held, size=held.size)
    found = requested_range(wanted, held.size)
    if found is None:
        return failure(416, "InvalidRange")
    start, size = found
    facts["Content-Range"] = f"bytes {start}-{start + size - 1}/{held.size}"
    return Answer(206, headers=facts, held=held, start=start, size=size)


def delete(store: Store, request: Request) -> Answer:
    """DeleteObject, and DeleteObjects (which always answers quietly)."""
    if request.key:
        store.delete(request.name)
        return Answer(204)
    for key in re.findall(r"<Key>(.*?)</Key>", request.text.decode()):
        store.delete(f"{request.bucket}/{messages.plain(key)}")
    return Answer(text=messages.deleted_answer().encode())


def create(store: Store, request: Request) -> Answer:
    """CreateMultipartUpload."""
    identity = store.start_upload(request.name)
    return Answer(text=messages.upload_answer(request.bucket, request.key, identity).encode())


def part(store: Store, request: Request) -> Answer:
    """UploadPart."""
    number = int(request.query["partNumber"])
    assert request.piece is not None
    if not store.add_part(request.query["uploadId"], number, request.piece):
        return failure(404, "NoSuchUpload")
    return Answer(headers={"ETag": f'"{number:032x}"'})


def complete(store: Store, request: Request) -> Answer:
    """CompleteMultipartUpload, conditional or not."""
    held = store.finish_upload(request.query["uploadId"], is_new_only=request.is_new_only)
    if held is None:
        return failure(412, "PreconditionFailed") if request.is_new_only else failure(404, "NoSuchUpload")
    return Answer(text=messages.complete_answer(request.bucket, request.key, held.etag).encode())


def abort(store: Store, request: Request) -> Answer:
    """AbortMultipartUpload."""
    return Answer(204) if store.abort_upload(request.query["uploadId"]) else failure(404, "NoSuchUpload")


def list_objects(store: Store, request: Request) -> Answer:
    """ListObjectsV2 and ListObjects."""
    return Answer(text=messages.list_answer(store, request.bucket, request.query).encode())


def list_uploads(store: Store, request: Request) -> Answer:
    """ListMultipartUploads."""
    return Answer(text=messages.uploads_answer(store, request.bucket).encode())


def about_bucket(_: Store, request: Request) -> Answer:
    """Questions about a bucket, and its creation: every bucket is there."""
    has_text = request.method == "GET"
    return Answer(text=messages.bucket_answer(request.query).encode() if has_text else b"")


def unknown(_: Store, request: Request) -> Answer:
    """Anything else."""
    return failure(501, f"NotImplemented: {request.method} {request.operation}")


OPERATIONS = {
    "put": put,
    "get": get,
    "head": get,
    "delete": delete,
    "create": create,
    "part": part,
    "complete": complete,
    "abort": abort,
    "list": list_objects,
    "uploads": list_uploads,
    "bucket": about_bucket,
}
