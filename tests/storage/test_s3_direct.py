"""S3 without the SDK: the contract, the requests, and who takes over when an answer is not the expected one."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fixtures.s3_server import PART_SIZE, S3Server, Twist, settings
from tests.storage.contract import StorageContract, content, odd_chunks, put_all, read
from walpy.config import ENDPOINT, PROXY, Config, load_config
from walpy.errors import ObjectExists, ObjectMissing, StorageError, StorageUnavailable
from walpy.storage import s3_direct_client, s3_place
from walpy.storage.base import READ_SIZE, Storage, StoredObject
from walpy.storage.s3 import S3Storage
from walpy.storage.s3_direct import DirectS3, from_config
from walpy.storage.s3_pages import NamesPage, Page, parse_names, parse_page
from walpy.storage.s3_place import find_place
from walpy.storage.s3_settings import read_settings

SEGMENT = "wal_005/000000010000000000000001.lz4"


@contextmanager
def opened(config: Config) -> Iterator[DirectS3]:
    storage = from_config(config)
    assert isinstance(storage, DirectS3)
    try:
        yield storage
    finally:
        storage.close()


@pytest.fixture
def storage(server: S3Server, bucket: str) -> Iterator[DirectS3]:
    with opened(settings(server.url, bucket)) as storage:
        yield storage


def needed_sdk(storage: DirectS3) -> bool:
    return storage._sdk is not None


def operations(server: S3Server) -> list[str]:
    return [request.operation for request in server.requests]


class TestContract(StorageContract):
    large_size = 2 * PART_SIZE + 100_003
    many = 1_205

    @pytest.fixture
    def storage(self, server: S3Server, bucket: str) -> Iterator[Storage]:
        with opened(settings(server.url, bucket)) as storage:
            yield storage


@pytest.mark.parametrize("size", [0, 1, 70_000, PART_SIZE])
def test_one_put_one_get_one_list_and_no_sdk(server: S3Server, storage: DirectS3, size: int) -> None:
    data = content(size)
    assert storage.put(SEGMENT, odd_chunks(data), create_only=True) == size
    assert read(storage, SEGMENT) == data
    (found,) = storage.stat_many([SEGMENT, SEGMENT.replace("lz4", "zst")])
    assert (found.name, found.size) == (SEGMENT, size)
    assert operations(server) == ["PUT", "GET", "GET ?list-type"]
    assert not needed_sdk(storage)


@pytest.mark.parametrize(("idle_seconds", "connections"), [(60.0, 1), (0.0, 3)])
def test_a_connection_is_used_again_while_it_is_fresh(
    monkeypatch: pytest.MonkeyPatch, idle_seconds: float, connections: int
) -> None:
    monkeypatch.setattr(s3_direct_client, "IDLE_SECONDS", idle_seconds)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with answering(answer, connections, keeps=True) as url, opened(settings(url)) as storage:
        for name in ("a", "b", "c"):
            storage.put(name, [])
        assert len(storage.client._idle) == 1
        assert not needed_sdk(storage)


def test_the_same_headers_as_the_sdk(server: S3Server, bucket: str) -> None:
    config = settings(server.url, bucket, S3_STORAGE_CLASS="STANDARD_IA", S3_SSE="AES256")
    for direct in (True, False):
        with opened(config) as storage:
            (storage if direct else storage.sdk).put(SEGMENT, [content(1000)], create_only=True)
        with opened(config) as storage:
            (storage if direct else storage.sdk).delete([SEGMENT])
    first, second = (request.headers for request in server.seen("PUT"))
    varying = {"authorization", "x-amz-date", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request"}
    varying |= {"accept-encoding", "expect", "x-amz-meta-walpy-put"}
    assert {key: first[key] for key in first.keys() - varying} == {key: second[key] for key in second.keys() - varying}
    assert "x-amz-meta-walpy-put" in first


def test_absence_is_the_server_s_word_of_the_key(server: S3Server, storage: DirectS3) -> None:
    with pytest.raises(ObjectMissing):
        storage.open(SEGMENT)
    assert storage.stat_many([SEGMENT]) == []
    assert operations(server) == ["GET", "GET ?list-type"]
    assert not needed_sdk(storage)


def test_a_missing_bucket_is_no_absence(server: S3Server) -> None:
    with opened(settings(server.url, "no-such-bucket")) as storage:
        with pytest.raises(StorageError, match="bucket does not exist"):
            storage.open(SEGMENT)
        assert needed_sdk(storage)
    with opened(settings(server.url, "no-such-bucket")) as storage, pytest.raises(StorageError, match="does not exist"):
        storage.stat_many([SEGMENT])


def test_a_taken_name_is_refused_at_once(server: S3Server, storage: DirectS3) -> None:
    storage.put("a", [b"first"], create_only=True)
    with pytest.raises(ObjectExists):
        storage.put("a", [b"second"], create_only=True)
    assert read(storage, "a") == b"first"
    storage.put("a", [b"third"])
    assert read(storage, "a") == b"third"
    assert not needed_sdk(storage)


@pytest.mark.parametrize(
    "twist",
    [
        Twist("PUT", status=503, code="SlowDown"),
        Twist("PUT", status=500, code="InternalError"),
        Twist("PUT", status=409, code="ConditionalRequestConflict"),
        Twist("PUT", lost=True),
        Twist("PUT", status=501, code="NotImplemented", needs="if-none-match", times=9),
    ],
    ids=lambda twist: twist.code or "lost",
)
def test_a_put_that_was_not_answered_is_the_sdk_s(server: S3Server, storage: DirectS3, twist: Twist) -> None:
    server.twist(twist)
    data = content(100_000)
    assert storage.put(SEGMENT, odd_chunks(data), create_only=True) == len(data)
    assert needed_sdk(storage)
    assert read(storage, SEGMENT) == data
    with pytest.raises(ObjectExists):
        storage.put(SEGMENT, [b"other"], create_only=True)


def test_another_s_object_is_not_taken_for_one_s_own(server: S3Server, storage: DirectS3, bucket: str) -> None:
    """The first answer is lost, and nothing was stored; meanwhile another writer was there."""

    def other() -> None:
        with opened(settings(server.url, bucket)) as second:
            second.put(SEGMENT, [b"other"], create_only=True)

    server.twist(Twist("PUT", status=500, code="InternalError", before=other))
    with pytest.raises(ObjectExists):
        storage.put(SEGMENT, [b"mine"], create_only=True)
    assert read(storage, SEGMENT) == b"other"


@pytest.mark.parametrize("cut_after", [0, 10, READ_SIZE + 7, 2 * READ_SIZE])
def test_a_get_that_breaks_off_goes_on(server: S3Server, storage: DirectS3, cut_after: int) -> None:
    data = content(3 * READ_SIZE + 5)
    storage.put("a", [data])
    server.calm()
    server.twist(Twist("GET", cut_after=cut_after))
    assert read(storage, "a") == data
    assert needed_sdk(storage)
    assert len(server.seen("GET")) == 2


def test_an_object_that_is_replaced_while_it_is_read(server: S3Server, storage: DirectS3) -> None:
    storage.put("a", [content(3 * READ_SIZE)])
    server.twist(Twist("GET", cut_after=READ_SIZE))
    with storage.open("a") as reader:
        chunks = iter(reader)
        next(chunks)
        storage.sdk.put("a", [content(3 * READ_SIZE, seed=2)])
        with pytest.raises(Exception, match="replaced"):
            list(chunks)


@pytest.mark.parametrize("twist", [Twist("GET", status=503, code="SlowDown"), Twist("GET", lost=True)])
def test_a_get_that_fails_is_the_sdk_s(server: S3Server, storage: DirectS3, twist: Twist) -> None:
    storage.put("a", [b"data"])
    server.twist(twist)
    assert read(storage, "a") == b"data"
    assert needed_sdk(storage)


def test_a_list_that_fails_is_the_sdk_s(server: S3Server, storage: DirectS3) -> None:
    storage.put("a", [b"data"])
    server.twist(Twist("GET ?list-type", status=500, code="InternalError"))
    assert [item.name for item in storage.stat_many(["a", "b"])] == ["a"]


def test_listings_of_several_pages_need_no_sdk(server: S3Server, storage: DirectS3) -> None:
    wanted = [f"many/{number:04}" for number in range(1_010)]
    put_all(storage, [*wanted, "many/0500.d/x", "other"])
    server.calm()
    assert [item.name for item in storage.list("many")] == sorted([*wanted, "many/0500.d/x"])
    found = storage.list_folder("many")
    assert ([item.name for item in found.objects], found.folders) == (wanted, ("many/0500.d",))
    assert [item.size for item in found.objects[:2]] == [len(wanted[0]), len(wanted[1])]
    assert list(storage.list_names("many")) == sorted([*wanted, "many/0500.d/x"])
    assert operations(server) == ["GET ?list-type"] * 6
    assert not needed_sdk(storage)
    assert list(storage.list("many")) == list(storage.sdk.list("many"))
    assert found == storage.sdk.list_folder("many")


@pytest.fixture(scope="module")
def crowded(running_server: S3Server) -> tuple[str, list[str]]:
    """A bucket whose listing has three pages, and the names in it."""
    bucket, names = running_server.new_bucket(), [f"n{number:04}" for number in range(2_005)]
    with opened(settings(running_server.url, bucket)) as storage:
        put_all(storage, names)
    return bucket, names


@pytest.mark.parametrize("page", [0, 1, 2])
@pytest.mark.parametrize("names_alone", [True, False])
def test_a_listing_that_fails_half_way_goes_on_where_it_was(
    names_alone: bool, page: int, server: S3Server, crowded: tuple[str, list[str]]
) -> None:
    bucket, wanted = crowded
    server.twist(Twist("GET ?list-type", skip=page, status=500, code="InternalError"))
    with opened(settings(server.url, bucket)) as storage:
        assert (list(storage.list_names()) if names_alone else [item.name for item in storage.list()]) == wanted
        assert needed_sdk(storage)


def test_a_listing_that_does_not_go_on_is_the_sdk_s(server: S3Server, bucket: str) -> None:
    """The same page with the same token for ever: the SDK, which asks the real server here, has the last word."""
    body = b"<R><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></R>"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with (
        answering(answer, keeps=True) as url,
        opened(settings(url, bucket)) as storage,
        opened(settings(server.url, bucket)) as real,
    ):
        real.put("a", [b"data"])
        storage._open_sdk = lambda: real.sdk
        assert [item.name for item in storage.list()] == ["a"]
        assert storage.list_folder().objects


PAGE = """<?xml version="1.0"?><ListBucketResult><Name>b</Name><Prefix>root/</Prefix>
<KeyCount>3</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>1/x+=</NextContinuationToken>
<Contents><Key>root/a</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><Size>7</Size></Contents>
<Contents><Key>root/folder/</Key><LastModified>2026-01-02T03:04:05Z</LastModified><Size>0</Size></Contents>
<CommonPrefixes><Prefix>root/b/</Prefix></CommonPrefixes></ListBucketResult>"""

NAMES = re.sub("<(LastModified|Size)>.*?</(LastModified|Size)>", "", PAGE)


def test_a_page() -> None:
    when = 1_767_323_045 * 10**9  # date -u -d 2026-01-02T03:04:05 +%s
    assert parse_page(PAGE, "root/") == Page([StoredObject("a", 7, when)], ["b"], "1/x+=")
    last = PAGE.replace("<IsTruncated>true", "<IsTruncated>false")
    assert parse_page(last, "root/").following == parse_names(last, "root/").following == ""


@pytest.mark.parametrize("text", [PAGE, PAGE.replace("<Key>", "<Owner></Owner><Key>"), PAGE.replace("KeyCount", "Any")])
def test_names_of_a_page(text: str) -> None:
    assert parse_names(text, "root/") == NamesPage(["a"], "1/x+=")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<Key>root/a<", "<Key>root/a&amp;b<"),
        ("<Key>root/a<", "<Key><"),
        ("<KeyCount>3", "<KeyCount>4"),
        ("<Prefix>root/b/", "<Prefix>root/&lt;/"),
        ("<Size>7</Size>", ""),
        ("<Size>7", "<Size>seven"),
        ("05.678Z", "05.678Zulu"),
        ("<NextContinuationToken>1/x+=</NextContinuationToken>", ""),
        ("<IsTruncated>true", "<IsTruncated>perhaps"),
        ("IsTruncated", "s3:IsTruncated"),
        ("Contents", "s3:Contents"),
    ],
)
def test_a_page_that_is_not_plain(old: str, new: str) -> None:
    assert old in PAGE
    with pytest.raises(ValueError):  # whatever str, int and datetime say
        parse_page(PAGE.replace(old, new), "root/")
    if old in NAMES and "Prefix" not in old:  # names alone need none
        with pytest.raises(ValueError):  # as above
            parse_names(NAMES.replace(old, new), "root/")


def test_keys_that_xml_has_to_escape(server: S3Server, storage: DirectS3) -> None:
    storage.put("a&b<c", [b"data"])
    assert [item.name for item in storage.stat_many(["a&b<c"])] == ["a&b<c"]


def test_a_crowded_prefix(server: S3Server, bucket: str, storage: DirectS3) -> None:
    put_all(storage, [f"n{number:04}" for number in range(1_010)])
    assert [item.name for item in storage.stat_many(["n0000", "n1009", "n2"])] == ["n0000", "n1009"]


def test_an_object_of_several_parts(server: S3Server, storage: DirectS3) -> None:
    data = content(2 * PART_SIZE + 3)
    assert storage.put("a", odd_chunks(data), create_only=True) == len(data)
    assert read(storage, "a") == data
    parts = ["PUT ?partNumber"] * 3
    assert sorted(operations(server)[:5]) == sorted(["POST ?uploads", *parts, "POST ?uploadId"])
    assert not needed_sdk(storage)
    with pytest.raises(ObjectExists):
        storage.put("a", odd_chunks(data), create_only=True)
    assert storage.discard_unfinished("") == 0
    assert not needed_sdk(storage)


@pytest.mark.parametrize(
    "twist",
    [
        Twist("POST ?uploads", status=503, code="SlowDown"),
        Twist("POST ?uploads", lost=True),
        Twist("PUT ?partNumber", skip=1, status=500, code="InternalError"),
        Twist("PUT ?partNumber", skip=2, lost=True),
        Twist("PUT ?partNumber", times=3, status=400, code="RequestTimeout"),
        Twist("POST ?uploadId", status=500, code="InternalError"),
        Twist("POST ?uploadId", status=200, code="InternalError"),
        Twist("POST ?uploadId", status=409, code="ConditionalRequestConflict"),
        Twist("POST ?uploadId", lost=True),
    ],
    ids=lambda twist: f"{twist.operation} {twist.code or 'lost'}",
)
def test_a_part_that_was_not_answered_is_the_sdk_s(server: S3Server, storage: DirectS3, twist: Twist) -> None:
    server.twist(twist)
    data = content(2 * PART_SIZE + 3)
    assert storage.put("a", odd_chunks(data), create_only=True) == len(data)
    assert needed_sdk(storage)
    assert read(storage, "a") == data
    with pytest.raises(ObjectExists):
        storage.put("a", odd_chunks(content(2 * PART_SIZE)), create_only=True)
    assert read(storage, "a") == data


def test_an_upload_in_parts_that_fails_is_taken_back(server: S3Server, storage: DirectS3) -> None:
    def failing() -> Iterator[bytes]:
        yield content(2 * PART_SIZE + 1)
        while len(server.seen("PUT ?partNumber")) < 2:
            time.sleep(0.01)
        raise ValueError("source")

    with pytest.raises(ValueError, match="source"):
        storage.put("a", failing())
    assert operations(server)[-1] == "DELETE ?uploadId"
    assert not needed_sdk(storage)
    assert storage.discard_unfinished("") == 0
    with pytest.raises(ObjectMissing):
        storage.stat("a")


def test_unfinished_uploads_are_the_sdk_s_to_abort(server: S3Server, storage: DirectS3, bucket: str) -> None:
    with opened(settings(server.url, bucket)) as other:
        other.sdk._client.create_multipart_upload(Bucket=bucket, Key="cluster/a")
    assert storage.discard_unfinished("b") == 0
    assert not needed_sdk(storage)
    assert storage.discard_unfinished("") == 1


def test_a_look_up(server: S3Server, storage: DirectS3) -> None:
    storage.put("a", [b"four"])
    found = storage.stat("a")
    assert found == storage.stat_many(["a"])[0]
    with pytest.raises(ObjectMissing):
        storage.stat("b")
    assert operations(server) == ["PUT", "HEAD", "GET ?list-type", "HEAD", "GET"]
    assert not needed_sdk(storage)
    assert storage.sdk.stat("a") == found
    server.twist(Twist("HEAD", status=503, code="SlowDown"))
    with opened(settings(server.url, server.requests[0].path.split("/")[1])) as other:
        assert other.stat("a") == found
        assert needed_sdk(other)


def test_all_parts_of_all_puts_share_the_memory(server: S3Server, bucket: str) -> None:
    data = content(3 * PART_SIZE)
    with opened(settings(server.url, bucket, UPLOAD_CONCURRENCY="2")) as storage:
        names = [f"n{number}" for number in range(6)]
        threads = [threading.Thread(target=storage.put, args=(name, odd_chunks(data))) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(read(storage, name) == data for name in names)
        assert not needed_sdk(storage)


def test_few_puts_at_a_time_hold_memory(server: S3Server, bucket: str) -> None:
    active: set[int] = set()
    most: list[int] = []

    def chunks(number: int) -> Iterator[bytes]:
        active.add(number)
        most.append(len(active))
        time.sleep(0.01)
        active.discard(number)
        yield b"%d" % number

    with opened(settings(server.url, bucket, UPLOAD_CONCURRENCY="2")) as storage:
        threads = [threading.Thread(target=storage.put, args=(f"n{number}", chunks(number))) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [read(storage, f"n{number}") for number in range(8)] == [b"%d" % number for number in range(8)]
    assert max(most) <= 2


def test_a_source_that_fails_stores_nothing(server: S3Server, storage: DirectS3) -> None:
    def failing() -> Iterator[bytes]:
        yield b"data"
        raise ValueError("source")

    with pytest.raises(ValueError, match="source"):
        storage.put("a", failing())
    assert server.requests == []


def test_nobody_listens() -> None:
    with opened(settings("http://127.0.0.1:9", WALPY_STORAGE_DEADLINE="1s")) as storage:
        with pytest.raises(StorageUnavailable):
            storage.open("a")
        with pytest.raises(StorageUnavailable):
            storage.put("a", [b"data"])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-encoding: gzip\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 80_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\ncontent-length: 0\r\nlocation: /\r\n\r\n",
    ],
)
def test_answers_that_make_no_sense_lead_to_the_sdk(answer: bytes, server: S3Server, bucket: str) -> None:
    """The server says nonsense once; the SDK, which asks the real one here, has the last word."""
    with (
        answering(answer) as url,
        opened(settings(url, bucket)) as storage,
        opened(settings(server.url, bucket)) as real,
    ):
        real.put("a", [b"data"])
        storage._open_sdk = lambda: real.sdk
        assert read(storage, "a") == b"data"


def test_an_absence_told_in_chunks() -> None:
    """As Amazon tells it."""
    body = b"<Error><Code>NoSuchKey</Code></Error>"
    pieces = (body[:10], body[10:])
    chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\ntrailer: x\r\n\r\n"
    answer = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    with answering(answer) as url, opened(settings(url)) as storage:
        with pytest.raises(ObjectMissing):
            storage.open("a")
        assert not needed_sdk(storage)


@pytest.mark.parametrize("size", [5, 3 * READ_SIZE])
def test_tls(tls_server: S3Server, certificate: tuple[Path, Path], size: int) -> None:
    data = content(size)
    bucket = tls_server.new_bucket()
    with opened(settings(tls_server.url, bucket, S3_CA_CERT_FILE=str(certificate[0]))) as storage:
        storage.put("a", [data], create_only=True)
        assert read(storage, "a") == data
        assert not needed_sdk(storage)


def test_a_connection_is_made_while_the_object_is(
    tls_server: S3Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    connected = threading.Event()

    class Noted(s3_direct_client.Connection):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(threading.current_thread().name)
            connected.set()

    def chunks() -> Iterator[bytes]:
        assert connected.wait(10)
        yield b"data"

    monkeypatch.setattr(s3_direct_client, "Connection", Noted)
    bucket = tls_server.new_bucket()
    with opened(settings(tls_server.url, bucket, S3_CA_CERT_FILE=str(certificate[0]))) as storage:
        storage.put("a", chunks())
        assert not needed_sdk(storage)
    assert made == ["s3-connect"]


def test_a_certificate_of_nobody_known_is_refused(tls_server: S3Server) -> None:
    with opened(settings(tls_server.url, tls_server.new_bucket())) as storage:
        with pytest.raises(StorageError, match="certificate is not trusted"):
            storage.put("a", [b"data"])
        with pytest.raises(StorageError, match="certificate is not trusted"):
            storage.open("a")
    assert tls_server.requests == []


@contextmanager
def answering(answer: bytes, connections: int = 1, *, keeps: bool = False) -> Iterator[str]:
    """URL of a server that takes so many connections, and answers every request (without a body) so.

    keeps: it leaves the connection open.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(connections):
                connection, _ = listener.accept()
                with connection:
                    while connection.recv(65536):
                        connection.sendall(answer)
                        if not keeps:
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


DIRECT: dict[str, dict[str, str]] = {
    "path": {},
    "amazon": {"AWS_ENDPOINT": "", "AWS_S3_FORCE_PATH_STYLE": ""},
    "host": {"AWS_S3_FORCE_PATH_STYLE": "", "AWS_ENDPOINT": "https://s3.example.com"},
}
BY_SDK = {
    "role": {"AWS_ROLE_ARN": "arn:aws:iam::1:role/x"},
    "default chain": {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    "customer's key": {"AWS_ENDPOINT": "https://s3.example.com", "S3_SSE": "AES256", "S3_SSE_C": "k" * 32},
    "object lock": {"S3_RETENTION_PERIOD": "100"},
    "headers": {"S3_REQUEST_ADDITIONAL_HEADERS": "{a: b}"},
    "validation": {"S3_SKIP_VALIDATION": "false"},
    "old listings": {"S3_USE_LIST_OBJECTS_V1": "true"},
    "request log": {"S3_LOG_LEVEL": "DEVEL"},
    "a profile": {"AWS_ENDPOINT": "", "AWS_S3_FORCE_PATH_STYLE": "", "AWS_PROFILE": "x"},
    "both protocols": {"AWS_ENDPOINT": "", "AWS_S3_FORCE_PATH_STYLE": "", "AWS_DUAL_STACK": "true"},
    "another partition": {"AWS_ENDPOINT": "", "AWS_S3_FORCE_PATH_STYLE": "", "AWS_REGION": "cn-north-1"},
    "amazon without a region": {"AWS_ENDPOINT": "https://s3.amazonaws.com", "AWS_REGION": ""},
    "a path in the endpoint": {"AWS_ENDPOINT": "https://example.com/s3"},
    "an address as the host": {"AWS_S3_FORCE_PATH_STYLE": ""},
    "a bucket that is no host": {"AWS_S3_FORCE_PATH_STYLE": "", "AWS_ENDPOINT": "https://x.com", "bucket": "my.bucket"},
    "an access point": {"bucket": "arn:aws:s3:eu:1:accesspoint:x"},
}


@pytest.mark.parametrize("name", [*DIRECT, *BY_SDK])
def test_who_serves_which_settings(name: str) -> None:
    changes = {**DIRECT, **BY_SDK}[name]
    bucket = changes.get("bucket", "bucket")
    more = {key: value for key, value in changes.items() if key != "bucket"}
    place = find_place(read_settings(settings("http://127.0.0.1:1", bucket, **more)))
    assert (place is not None) == (name in DIRECT)


@pytest.fixture(autouse=True)
def no_sdk_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the SDK's configuration file would be."""
    path = tmp_path / "aws-config"
    monkeypatch.setattr(s3_place, "SDK_CONFIG", str(path))
    return path


AMAZON = {"AWS_ENDPOINT": "", "AWS_S3_FORCE_PATH_STYLE": ""}


def test_amazon_s_endpoint_is_the_sdk_s_to_choose_where_it_could_differ(no_sdk_config: Path) -> None:
    amazon = read_settings(settings("", **AMAZON))
    assert find_place(amazon) is not None
    assert find_place(amazon, [ENDPOINT]) is None
    no_sdk_config.write_text("[default]\nuse_fips_endpoint = true\n")
    assert find_place(amazon) is None
    assert find_place(read_settings(settings("http://127.0.0.1:1"))) is not None


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ap-southeast-4", "mx-central-1"])
@pytest.mark.parametrize(
    "more",
    [AMAZON, {"AWS_ENDPOINT": ""}, {"AWS_S3_FORCE_PATH_STYLE": ""}, {}, {"AWS_ENDPOINT": "https://s3.x.com:444"}],
    ids=["amazon", "amazon by path", "host", "path", "port"],
)
def test_requests_go_where_the_sdk_s_would(region: str, more: dict[str, str]) -> None:
    with opened(
        settings("http://storage.example.com:9000", "some-bucket", **{"AWS_REGION": region, **more})
    ) as storage:
        url = urlsplit(storage.sdk._client.generate_presigned_url("get_object", {"Bucket": "some-bucket", "Key": "k"}))
        # Amazon's first region has an old name as well, which the SDK may choose.
        host = url.netloc.replace("s3.amazonaws.com", "s3.us-east-1.amazonaws.com")
        assert (storage._place.host, storage._place.path + "k") == (host, url.path)
        assert storage._place.address.is_tls == (url.scheme == "https")


def test_hosts_and_paths() -> None:
    def place(url: str, **more: str) -> tuple[object, ...]:
        found = find_place(read_settings(settings(url, "bucket", **more)))
        assert found is not None
        return found.address.host, found.address.port, found.address.is_tls, found.host, found.path

    virtual = {"AWS_S3_FORCE_PATH_STYLE": ""}
    assert place("https://s3.x.com", **virtual) == ("bucket.s3.x.com", 443, True, "bucket.s3.x.com", "/")
    assert place("https://s3.x.com") == ("s3.x.com", 443, True, "s3.x.com", "/bucket/")
    assert place("http://h:9000") == ("h", 9000, False, "h:9000", "/bucket/")
    assert place("http://h:80") == ("h", 80, False, "h", "/bucket/")


@pytest.mark.parametrize(
    ("variable", "value", "direct"),
    [("HTTPS_PROXY", "http://p:1", False), ("http_proxy", "p:1", False), ("https_proxy", "", True)],
)
def test_a_proxy_is_the_sdk_s(variable: str, value: str, direct: bool) -> None:
    environ = {key: setting.value for key, setting in settings("http://127.0.0.1:1").settings.items()}
    storage = from_config(load_config({}, {**environ, variable: value, "HOME": "/nonexistent"}))
    assert isinstance(storage, DirectS3 if direct else S3Storage)
    storage.close()


def test_what_the_environment_leaves_to_libraries() -> None:
    home = {"HOME": "/nonexistent"}
    assert load_config({}, home).left_to_libraries == frozenset()
    both = load_config({}, {**home, "http_proxy": "p:1", "AWS_ENDPOINT_URL_S3": "http://x", "ALL_PROXY": ""})
    assert both.left_to_libraries == {PROXY, ENDPOINT}
    assert both.with_settings({}).left_to_libraries == both.left_to_libraries
