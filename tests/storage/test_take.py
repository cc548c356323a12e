"""Copies that a server makes itself: which it can, that they are create-only, and what passes through here instead."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.storage.blob import generate_account_sas

from tests.fixtures.azurite import ACCESS_KEY, ACCOUNT, BLOCK_SIZE, Azurite, client_of, open_azure
from tests.fixtures.fault_proxy import FaultProxy, Trouble
from tests.fixtures.gcs_server import BUCKET, GcsServer, open_gcs
from tests.fixtures.s3_server import PART_SIZE, S3Server, Twist, open_s3, settings
from tests.storage.contract import content, odd_chunks, read
from walpy.archive import Archive
from walpy.config import Config
from walpy.copying import copy_objects
from walpy.errors import ObjectExists
from walpy.moving import MoveOptions, move_objects
from walpy.progress import SilentProgress
from walpy.storage.base import CopiesItself, Storage, StoredObject
from walpy.storage.fs import from_config as open_folder
from walpy.storage.s3_direct import from_config as open_direct
from walpy.stream.codecs import codec

DATA = content(2 * PART_SIZE + 3)


def copied(source: Storage, target: Storage, name: str = "a") -> bool:
    assert isinstance(target, CopiesItself)
    return target.take(source, source.stat(name))


# ---- S3


@pytest.fixture
def pair(server: S3Server) -> Iterator[tuple[Storage, Storage]]:
    """Two buckets of one server."""
    first, second = server.new_bucket(), server.new_bucket()
    with (
        closing(open_direct(settings(server.url, first))) as source,
        closing(open_direct(settings(server.url, second))) as target,
    ):
        source.put("folder/a b+c", odd_chunks(DATA))
        server.requests.clear()
        yield source, target


def test_s3_copies_between_buckets(server: S3Server, pair: tuple[Storage, Storage]) -> None:
    source, target = pair
    assert copied(source, target, "folder/a b+c")
    assert [request.method for request in server.requests] == ["HEAD", "HEAD", "PUT"]
    assert "x-amz-copy-source" in server.requests[-1].headers
    assert read(target, "folder/a b+c") == DATA


def test_s3_replaces_nothing(pair: tuple[Storage, Storage]) -> None:
    source, target = pair
    target.put("folder/a b+c", [b"other"])
    with pytest.raises(ObjectExists):
        copied(source, target, "folder/a b+c")
    assert read(target, "folder/a b+c") == b"other"


@pytest.mark.parametrize(
    "twist", [Twist("PUT", status=503, code="SlowDown"), Twist("PUT", lost=True)], ids=["slow", "lost"]
)
def test_s3_is_asked_again(twist: Twist, server: S3Server, pair: tuple[Storage, Storage]) -> None:
    source, target = pair
    server.twist(twist)
    assert copied(source, target, "folder/a b+c")
    assert read(target, "folder/a b+c") == DATA


def test_what_these_credentials_may_not_read_passes_through_here(
    server: S3Server, pair: tuple[Storage, Storage]
) -> None:
    source, target = pair
    server.twist(Twist("PUT", status=403, code="AccessDenied", needs="x-amz-copy-source"))
    assert not copied(source, target, "folder/a b+c")
    archives = [Archive(Config(), storage, codec("none")) for storage in (source, target)]
    assert copy_objects(*archives, "", SilentProgress()).copied == 1
    assert read(target, "folder/a b+c") == DATA


def test_not_between_servers_nor_with_customers_keys(server: S3Server, pair: tuple[Storage, Storage]) -> None:
    source, _ = pair
    found = source.stat("folder/a b+c")
    bucket = server.new_bucket()
    with open_s3(server.url.replace("127.0.0.1", "localhost"), bucket) as elsewhere:
        assert not elsewhere.take(source, found)
    with open_s3(server.url, bucket) as target:
        assert not target.take(source, found._replace(size=(5 << 30) + 1))
        with open_s3(server.url, bucket, S3_SSE="AES256") as encrypted:
            assert encrypted.take(source, found)
        assert read(target, found.name) == DATA


def test_not_from_a_folder(server: S3Server, bucket: str, tmp_path: Path) -> None:
    folder = open_folder(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path)}))
    folder.put("a", [b"1"])
    with open_s3(server.url, bucket) as target:
        assert not target.take(folder, folder.stat("a"))
    assert not isinstance(folder, CopiesItself)


# ---- Azure


@pytest.mark.parametrize("token", [False, True])
def test_azure_copies_between_containers(azurite: Azurite, token: bool) -> None:
    data = content(2 * BLOCK_SIZE + 3)
    access = account_token() if token else {}
    with (
        open_azure(azurite.url, azurite.new_container(), **access) as source,
        open_azure(azurite.url, azurite.new_container(), **access) as target,
        FaultProxy(azurite.url) as proxy,
        open_azure(proxy.url, azurite.new_container()) as elsewhere,
    ):
        source.put("folder/a b+c", odd_chunks(data))
        assert copied(source, target, "folder/a b+c")
        assert read(target, "folder/a b+c") == data
        with pytest.raises(ObjectExists):
            copied(source, target, "folder/a b+c")
        found = source.stat("folder/a b+c")
        assert not target.take(source, found._replace(size=(256 << 20) + 1))
        assert not target.take(source, found._replace(name="gone"))
        assert not elsewhere.take(source, found)
        assert not target.take(server_less(), found)


def account_token() -> dict[str, str]:
    """Settings with a shared access signature in place of the key."""
    expiry = datetime.now(UTC) + timedelta(hours=1)
    signature = generate_account_sas(ACCOUNT, ACCESS_KEY, "o", "rcwdl", expiry)
    return {"AZURE_STORAGE_ACCESS_KEY": "", "AZURE_STORAGE_SAS_TOKEN": signature}


def test_azure_signs_what_the_server_shall_read() -> None:
    """Azurite does not ask for it inside of one account."""
    for access in ({}, account_token()):
        client = client_of("http://x", "container", **access)
        url = urlsplit(client.signed_url("cluster/a b+c"))
        assert url.path == f"/{ACCOUNT}/container/cluster/a%20b%2Bc"
        assert {"sp", "se", "sig"} <= parse_qs(url.query).keys()


def test_azure_is_asked_again(azurite: Azurite) -> None:
    """The answer is lost; the second attempt meets the first one's blob."""
    with (
        FaultProxy(azurite.url) as proxy,
        open_azure(proxy.url, azurite.new_container()) as source,
        open_azure(proxy.url, azurite.new_container()) as target,
    ):
        source.put("a", [b"1"])
        proxy.misbehave(Trouble.LOSES_ANSWERS, method="PUT")
        healer = threading.Thread(target=lambda: proxy.troubled.wait(30) and proxy.heal())
        healer.start()
        assert copied(source, target)
        healer.join()
        assert read(target, "a") == b"1"


# ---- GCS


def test_gcs_copies_between_folders_and_buckets() -> None:
    with GcsServer() as server, open_gcs(server.url, f"gs://{BUCKET}/one") as source:
        source.put("folder/a b+c", odd_chunks(DATA))
        with open_gcs(server.url, f"gs://{BUCKET}/two") as target:
            assert copied(source, target, "folder/a b+c")
            assert read(target, "folder/a b+c") == DATA
            assert read(source, "folder/a b+c") == DATA
            assert not target.take(server_less(), StoredObject("a", 1, 0))


def server_less() -> Storage:
    return open_folder(Config.from_mapping({"WALG_FILE_PREFIX": "/"}))


def test_objects_move_between_folders_of_gcs() -> None:
    with (
        GcsServer() as server,
        open_gcs(server.url, f"gs://{BUCKET}/from") as source,
        open_gcs(server.url, f"gs://{BUCKET}/to") as target,
    ):
        source.put("a", odd_chunks(DATA))
        source.put("b", [b"both"])
        target.put("b", [b"both"])
        archives = [Archive(Config(), storage, codec("none")) for storage in (source, target)]
        move_objects(*archives, "", MoveOptions(interval=0), SilentProgress())
        assert list(source.list_names()) == []
        assert read(target, "a") == DATA
        found, digest = target.describe("b")
        assert (found.size, digest) == (4, hashlib.md5(b"both").hexdigest())
