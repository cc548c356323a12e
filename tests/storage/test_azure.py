"""The Azure backend on Azurite: the contract, credentials, and what only this backend promises."""

import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from azure.storage.blob import generate_container_sas

from tests.fixtures.azurite import ACCESS_KEY, ACCOUNT, BLOCK_SIZE, Azurite, client_of, open_azure
from tests.fixtures.faults import Answer, FaultServer
from tests.storage.contract import AWKWARD_NAMES, StorageContract, content, names, odd_chunks, read
from walpy.errors import AccessDenied, ObjectExists, ObjectMissing, StorageError
from walpy.storage import azure, azure_upload
from walpy.storage.azure import AzureStorage
from walpy.storage.azure_client import Container
from walpy.storage.azure_upload import BLOCK_ID_LENGTH, TOKEN_KEY
from walpy.storage.parts import content_md5


@pytest.fixture
def container(azurite: Azurite) -> str:
    return azurite.new_container()


@pytest.fixture
def client(azurite: Azurite, container: str) -> Iterator[Container]:
    """The SDK's client, to look behind the storage."""
    client = client_of(azurite.url, container)
    yield client
    client.client.close()


@pytest.fixture
def storage(azurite: Azurite, container: str) -> Iterator[AzureStorage]:
    with open_azure(azurite.url, container) as storage:
        yield storage


class TestContract(StorageContract):
    large_size = 2 * BLOCK_SIZE + 100_003
    many = 0  # deletions of many are slow on Azurite: see test_pages
    awkward_names = tuple(name for name in AWKWARD_NAMES if "\\" not in name)  # the server would turn it into a slash

    @pytest.fixture
    def storage(self, azurite: Azurite, container: str) -> Iterator[AzureStorage]:
        with open_azure(azurite.url, container) as storage:
            yield storage


def test_pages(storage: AzureStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage._container, "page_size", 7)
    monkeypatch.setattr(azure, "DELETE_BATCH", 9)
    wanted = sorted(f"many/{number:02}{ending}" for number in range(9) for ending in ("", "/x", ".y"))
    for name in [*wanted, "lots", "nany"]:
        storage.put(name, [b""])
    assert names(storage, "many") == wanted
    folder = storage.list_folder("many")
    assert [item.name for item in folder.objects] == [name for name in wanted if not name.endswith("/x")]
    assert folder.folders == tuple(f"many/{number:02}" for number in range(9))
    found = storage.stat_many([wanted[-1], "many/gone", wanted[0], wanted[-1]])
    assert [item.name for item in found] == [wanted[-1], wanted[0], wanted[-1]]
    storage.delete(wanted)
    assert names(storage) == ["lots", "nany"]


def test_what_is_stored(storage: AzureStorage, client: Container) -> None:
    """A block blob below the path of the prefix, with a token of its put."""
    storage.put("wal_005/a.lz4", [b"x"])
    storage.put("wal_005/b.lz4", odd_chunks(content(3 * BLOCK_SIZE)))
    for key in ("cluster/wal_005/a.lz4", "cluster/wal_005/b.lz4"):
        found = client.blob(key).get_blob_properties()
        assert (str(found.blob_type), found.content_settings.content_type) == (
            "BlobType.BLOCKBLOB",
            "application/octet-stream",
        )
        assert len(found.metadata[TOKEN_KEY]) == 32
    committed, unfinished = client.blob("cluster/wal_005/b.lz4").get_block_list("all")
    assert [block.size for block in committed] == [BLOCK_SIZE] * 3
    assert unfinished == []


@pytest.mark.parametrize("size", [10, BLOCK_SIZE + 10])
def test_a_damaged_upload_is_refused_by_the_server(
    azurite: Azurite, container: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(azure_upload, "content_md5", lambda _: content_md5(b"something else"))
    with open_azure(azurite.url, container, WALPY_STORAGE_DEADLINE="0s") as storage:
        with pytest.raises(StorageError, match=r"Md5Mismatch|InvalidOperation"):
            storage.put("a", odd_chunks(content(size)))
        assert names(storage) == []


def test_a_backslash_is_refused(storage: AzureStorage) -> None:
    with pytest.raises(StorageError, match="not a name of a blob"):
        storage.put("a\\b", [b""])


def test_placeholders_of_folders_are_no_objects(storage: AzureStorage, client: Container) -> None:
    storage.put("folder/a", [b""])
    client.blob("cluster/folder/").upload_blob(b"")
    assert names(storage) == ["folder/a"]
    assert storage.list_folder("folder").folders == ()


@pytest.mark.parametrize("create_only", [False, True])
@pytest.mark.parametrize("size", [0, 10, BLOCK_SIZE + 10])
def test_blocks_that_walg_left_unfinished_are_not_in_the_way(
    storage: AzureStorage, client: Container, size: int, create_only: bool
) -> None:
    client.blob("cluster/a").stage_block("x" * BLOCK_ID_LENGTH, b"unfinished")
    assert names(storage) == []
    assert storage.put("a", odd_chunks(content(size)), create_only=create_only) == size
    assert read(storage, "a") == content(size)


def test_blocks_of_another_program_are_explained(storage: AzureStorage, client: Container) -> None:
    """All blocks of a blob have ids of one length."""
    client.blob("cluster/a").stage_block("short", b"unfinished")
    with pytest.raises(StorageError, match=r"InvalidBlobOrBlock|InvalidBlockId") as caught:
        storage.put("a", odd_chunks(content(BLOCK_SIZE + 1)))
    assert not caught.value.transient


@pytest.mark.parametrize("create_only", [False, True])
def test_a_put_of_the_same_name_meanwhile(storage: AzureStorage, client: Container, create_only: bool) -> None:
    """It takes away the blocks that wait for their list."""
    other = content(BLOCK_SIZE + 1, seed=2)

    def chunks() -> Iterator[bytes]:
        yield content(2 * BLOCK_SIZE + 1)
        while not list(client.client.list_blobs(include=["uncommittedblobs"])):
            time.sleep(0.01)
        storage.put("a", [other])

    with pytest.raises(ObjectExists if create_only else StorageError, match=r"exists already|blocks are gone"):
        storage.put("a", chunks(), create_only=create_only)
    assert read(storage, "a") == other


def test_snapshots_are_deleted_with_their_blob(storage: AzureStorage, client: Container) -> None:
    for name in ("a", "b", "c"):
        storage.put(name, [b"x"])
        client.blob(f"cluster/{name}").create_snapshot()
    storage.delete(["a"])
    storage.delete(["b", "c", "gone"])
    assert [item.name for item in client.client.list_blobs(include=["snapshots"])] == []


# credentials


def test_a_wrong_key_is_refused(azurite: Azurite, container: str) -> None:
    with open_azure(azurite.url, container, AZURE_STORAGE_ACCESS_KEY="d3Jvbmc=") as storage:
        for call in (lambda: storage.stat("a"), lambda: storage.put("a", [b"x"]), lambda: storage.stat_many(["a"])):
            with pytest.raises(AccessDenied, match=r"AuthorizationFailure|AuthenticationFailed|403"):
                call()


def test_a_missing_container_is_no_missing_object(azurite: Azurite) -> None:
    with open_azure(azurite.url, f"gone-{uuid.uuid4().hex}") as storage:
        calls = [
            lambda: storage.stat("a"),
            lambda: storage.open("a"),
            lambda: storage.stat_many(["a"]),
            lambda: names(storage),
            lambda: storage.put("a", [b"x"]),
            lambda: storage.delete(["a"]),
            lambda: storage.delete(["a", "b"]),
        ]
        for call in calls:
            with pytest.raises(StorageError, match="the container does not exist") as caught:
                call()
            assert type(caught.value) is StorageError
            assert "WALG_AZ_PREFIX" in caught.value.hint


def token(container: str, permission: str) -> dict[str, str]:
    """Settings with a shared access signature in place of the key."""
    expiry = datetime.now(UTC) + timedelta(hours=1)
    signature = generate_container_sas(ACCOUNT, container, ACCESS_KEY, permission=permission, expiry=expiry)
    return {"AZURE_STORAGE_ACCESS_KEY": "", "AZURE_STORAGE_SAS_TOKEN": f"?{signature}"}


def test_a_shared_access_signature(azurite: Azurite, container: str) -> None:
    with open_azure(azurite.url, container, **token(container, "rcwdl")) as storage:
        for name in ("a", "b", "c d"):
            storage.put(name, odd_chunks(content(BLOCK_SIZE + 1)), create_only=True)
        assert read(storage, "c d", offset=5) == content(BLOCK_SIZE + 1)[5:]
        assert [item.name for item in storage.stat_many(["a", "gone"])] == ["a"]
        storage.delete(["a", "b"])
        assert names(storage) == ["c d"]
        with pytest.raises(ObjectMissing):
            storage.stat("a")


def test_a_shared_access_signature_without_permission(azurite: Azurite, container: str) -> None:
    with open_azure(azurite.url, container, **token(container, "rl")) as storage:
        assert names(storage) == []
        with pytest.raises(AccessDenied, match="Authorization") as caught:
            storage.put("a", [b"x"])
        assert "sig=" not in str(caught.value) + caught.value.hint + repr(caught.value.__cause__)


def test_an_identity(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A managed identity's token, from an endpoint as App Service has it, to a server that wants one."""
    now = int(time.time())
    claims = {"aud": "https://storage.azure.com", "iss": f"https://sts.windows.net/{uuid.uuid4()}/"}
    bearer = jwt.encode({**claims, "nbf": now - 60, "iat": now - 60, "exp": now + 3600}, "k" * 32)
    answer = {"access_token": bearer, "expires_on": now + 3600, "token_type": "Bearer", "resource": claims["aud"]}
    issuer = Answer(200, (("Content-Type", "application/json"),), json.dumps(answer).encode())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with FaultServer(issuer) as tokens, Azurite("--oauth", "basic", tls=certificate) as server:
        made = server.new_container()
        monkeypatch.setenv("IDENTITY_ENDPOINT", tokens.url)
        monkeypatch.setenv("IDENTITY_HEADER", "secret")
        with open_azure(server.url, made, AZURE_STORAGE_ACCESS_KEY="") as storage:
            storage.put("a", [b"x"])
            assert read(storage, "a") == b"x"
            storage.delete(["a", "b"])
            assert names(storage) == []
        assert len(tokens.requests) == 1
