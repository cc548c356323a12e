"""The S3 sink, spoken to by the SDK."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.sink.bodies import requested_range
from benchmarks.sink.messages import operation, split_target
from benchmarks.sink.server import Sink
from benchmarks.sink.store import Store


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    server = Sink(Store(tmp_path))
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.close()
    thread.join()


@pytest.fixture
def client(sink: Sink) -> Iterator[Any]:
    made = botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{sink.port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    yield made
    made.close()


def status(error: pytest.ExceptionInfo[ClientError]) -> int:
    return int(error.value.response["ResponseMetadata"]["HTTPStatusCode"])


def read(client: Any, key: str, **options: str) -> bytes:
    with client.get_object(Bucket="b", Key=key, **options)["Body"] as body:
        return bytes(body.read())


def test_an_object_comes_back_with_its_facts(client: Any) -> None:
    content = bytes(range(256)) * 5000
    etag = client.put_object(Bucket="b", Key="a/ä b", Body=content)["ETag"]
    facts = client.head_object(Bucket="b", Key="a/ä b")
    assert (facts["ContentLength"], facts["ETag"]) == (len(content), etag)
    assert read(client, "a/ä b") == content


def test_ranges(client: Any) -> None:
    client.put_object(Bucket="b", Key="k", Body=b"0123456789")
    assert read(client, "k", Range="bytes=2-4") == b"234"
    assert read(client, "k", Range="bytes=7-") == b"789"
    assert read(client, "k", Range="bytes=-2") == b"89"
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket="b", Key="k", Range="bytes=10-")
    assert status(error) == 416


def test_a_conditional_put_keeps_what_is_there(client: Any) -> None:
    client.put_object(Bucket="b", Key="k", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket="b", Key="k", Body=b"second", IfNoneMatch="*")
    assert status(error) == 412
    assert read(client, "k") == b"first"
    client.put_object(Bucket="b", Key="k", Body=b"third")
    assert read(client, "k") == b"third"


def test_a_missing_object_is_404(client: Any) -> None:
    with pytest.raises(client.exceptions.NoSuchKey):
        client.get_object(Bucket="b", Key="k")


def test_a_listing_of_several_pages(client: Any) -> None:
    for number in range(7):
        client.put_object(Bucket="b", Key=f"p/{number}", Body=b"x" * number)
    client.put_object(Bucket="b", Key="q", Body=b"")
    client.put_object(Bucket="other", Key="p/8", Body=b"")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="b", Prefix="p/", PaginationConfig={"PageSize": 3})
    found = [[(entry["Key"], entry["Size"]) for entry in page["Contents"]] for page in pages]
    assert found == [[(f"p/{n}", n) for n in numbers] for numbers in ((0, 1, 2), (3, 4, 5), (6,))]


def test_a_listing_of_folders(client: Any) -> None:
    for key in ("a/1", "a/2", "b", "c/d/1", "c/d/2"):
        client.put_object(Bucket="b", Key=key, Body=b"")
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket="b", Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    shown = [
        entry.get("Key") or entry["Prefix"]
        for page in pages
        for entry in [*page.get("Contents", []), *page.get("CommonPrefixes", [])]
    ]
    assert shown == ["a/", "b", "c/"]


def test_the_older_listing(client: Any) -> None:
    for key in ("1", "2", "3"):
        client.put_object(Bucket="b", Key=key, Body=b"")
    pages = client.get_paginator("list_objects").paginate(Bucket="b", PaginationConfig={"PageSize": 2})
    assert [[entry["Key"] for entry in page["Contents"]] for page in pages] == [["1", "2"], ["3"]]


def test_a_multipart_upload_in_any_order(client: Any) -> None:
    identity = client.create_multipart_upload(Bucket="b", Key="k")["UploadId"]
    parts = {2: b"two" * 9, 1: b"one" * 7}
    tags = {
        number: client.upload_part(Bucket="b", Key="k", UploadId=identity, PartNumber=number, Body=body)["ETag"]
        for number, body in parts.items()
    }
    assert [upload["UploadId"] for upload in client.list_multipart_uploads(Bucket="b")["Uploads"]] == [identity]
    listed = {"Parts": [{"PartNumber": number, "ETag": tags[number]} for number in (1, 2)]}
    client.complete_multipart_upload(Bucket="b", Key="k", UploadId=identity, MultipartUpload=listed)
    assert read(client, "k") == b"one" * 7 + b"two" * 9
    assert read(client, "k", Range="bytes=19-22") == b"netw"


def test_an_aborted_upload_leaves_no_file(client: Any, tmp_path: Path) -> None:
    identity = client.create_multipart_upload(Bucket="b", Key="k")["UploadId"]
    client.upload_part(Bucket="b", Key="k", UploadId=identity, PartNumber=1, Body=b"one")
    client.abort_multipart_upload(Bucket="b", Key="k", UploadId=identity)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ClientError) as error:
        client.upload_part(Bucket="b", Key="k", UploadId=identity, PartNumber=1, Body=b"one")
    assert status(error) == 404


def test_deletions_remove_the_files(client: Any, tmp_path: Path) -> None:
    for key in ("a", "b & c", "d"):
        client.put_object(Bucket="b", Key=key, Body=b"x")
    client.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "b & c"}, {"Key": "d"}, {"Key": "none"}]})
    client.delete_object(Bucket="b", Key="a")
    assert "Contents" not in client.list_objects_v2(Bucket="b")
    assert list(tmp_path.iterdir()) == []


def test_a_streamed_body_is_decoded(client: Any) -> None:
    client.put_object(Bucket="b", Key="k", Body=b"y" * 300_000, ChecksumAlgorithm="CRC32")
    assert read(client, "k") == b"y" * 300_000


def test_requests_are_counted(client: Any, sink: Sink) -> None:
    client.put_object(Bucket="b", Key="k", Body=b"12345")
    client.list_objects_v2(Bucket="b")
    client.get_bucket_location(Bucket="b")
    assert dict(sink.counts) == {"put": 1, "list": 1, "bucket": 1, "bytes received": 5}


@pytest.mark.parametrize(
    ("text", "found"),
    [("bytes=0-0", (0, 1)), ("bytes=3-99", (3, 7)), ("bytes=-99", (0, 10)), ("bytes=-0", None), ("bytes=10-11", None)],
)
def test_requested_range(text: str, found: tuple[int, int] | None) -> None:
    assert requested_range(text, 10) == found


def test_targets_and_operations() -> None:
    assert split_target("/b/a%2Fb%20c?partNumber=1&uploadId=u") == ("b", "a/b c", {"partNumber": "1", "uploadId": "u"})
    assert operation("PUT", "k", {"partNumber": "1", "uploadId": "u"}) == "part"
    assert operation("POST", "", {"delete": ""}) == "delete"
    assert operation("GET", "", {"location": ""}) == "bucket"
