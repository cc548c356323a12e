"""The Google Cloud Storage backend: the contract on two servers, settings, and what only this backend promises."""

import base64
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fixtures.faults import NEVER, Answer, FaultServer
from tests.fixtures.gcs_server import BUCKET, GcsServer, open_gcs, settings
from tests.fixtures.require import missing
from tests.storage.contract import StorageContract
from walpy.config import Config
from walpy.errors import AccessDenied, ConfigError, StorageError, StorageUnavailable
from walpy.storage.base import Storage
from walpy.storage.gcs import from_config, location


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


class TestContract(StorageContract):
    """On gcp-storage-emulator, completed with what it lacks (see tests/fixtures/gcs_server.py).

    It needs half a minute to take the objects of the paging test; test_gcs_faults.py has another.
    """

    @pytest.fixture
    def storage(self, server: GcsServer) -> Iterator[Storage]:
        with open_gcs(server.url) as storage:
            yield storage


@pytest.mark.servers
class TestContractOnFakeGcsServer(StorageContract):
    """On fake-gcs-server (tests/servers/fake_gcs.sh), whose generations and pages are its own."""

    many: ClassVar[int] = 1100

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        endpoint = os.environ.get("WALPY_TEST_GCS_ENDPOINT", "")
        if not endpoint:
            missing("fake-gcs", "WALPY_TEST_GCS_ENDPOINT is not set: see tests/servers/fake_gcs.sh")
        bucket = f"walpy-{uuid.uuid4().hex}"
        requests.post(f"{endpoint}/storage/v1/b", json={"name": bucket}, timeout=10).raise_for_status()
        with open_gcs(endpoint, f"gs://{bucket}/cluster") as storage:
            yield storage


# settings


@pytest.mark.parametrize(
    ("prefix", "sub_folder", "normalize", "expected"),
    [
        ("gs://b", "", True, ("b", "")),
        ("gs://b/", "", True, ("b", "")),
        ("gs://b/dir", "", True, ("b", "dir/")),
        ("gs://b/dir//sub/", "", True, ("b", "dir//sub/")),
        ("gs://b//dir", "", True, ("b", "dir/")),
        ("gs://b/a%20b", "", True, ("b", "a b/")),
        ("gs://b/dir/", "/c1/", True, ("b", "dir/c1/")),
        ("gs://b", "c1", True, ("b", "c1/")),
        ("x://Bucket_1.example/dir", "", True, ("Bucket_1.example", "dir/")),
        ("gs://b", "", False, ("b", "")),
        ("gs://b/", "", False, ("b", "")),
        ("gs://b/dir", "", False, ("b", "dir/")),
        ("gs://b/dir/", "", False, ("b", "dir/")),
        ("gs://b//dir", "", False, ("b", "dir/")),
        ("gs://b/dir//sub", "", False, ("b", "dir//sub/")),
        ("gs://b/dir//", "", False, ("b", "dir//")),
        ("gs://b/dir", "c1", False, ("b", "dir/c1/")),
        ("gs://b/dir//", "/c1", False, ("b", "dir//c1/")),
        ("gs://b", "c1", False, ("b", "c1/")),
    ],
)
def test_location(prefix: str, sub_folder: str, normalize: bool, expected: tuple[str, str]) -> None:
    assert location(prefix, sub_folder, normalize=normalize) == expected


@pytest.mark.parametrize("prefix", ["b/dir", "gs:///dir", "//b/dir", "gs:b"])
def test_a_prefix_without_scheme_or_bucket_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="missing url scheme"):
        location(prefix, "", normalize=True)


@pytest.mark.parametrize(
    ("normalize", "key"), [("true", "dir//sub/wal_005/a.lz4"), ("false", "dir//sub//wal_005/a.lz4")]
)
def test_keys_are_where_walg_keeps_them(server: GcsServer, normalize: str, key: str) -> None:
    with open_gcs(server.url, f"gs://{BUCKET}/dir//sub//", GCS_NORMALIZE_PREFIX=normalize) as storage:
        storage.put("wal_005/a.lz4", [b"x"])
        assert [item.name for item in storage.list("wal_005")] == ["wal_005/a.lz4"]
        assert storage.list_folder("").folders == ("wal_005",)
    assert server.storage.get_file_obj(BUCKET, key)["size"] == "1"


KEY = base64.b64encode(bytes(range(32))).decode()


def test_an_encryption_key_goes_with_objects_alone(server: GcsServer) -> None:
    with open_gcs(server.url, WALG_GCS_ENCRYPTION_KEY=KEY, GCS_MAX_CHUNK_SIZE="262144") as storage:
        storage.put("small", [b"x"])
        storage.put("large", [bytes(300_000)])
        with storage.open("large") as reader:
            list(reader)
        storage.stat("small")
        with_key = {request.method for request in server.requests if "x-goog-encryption-key" in request.headers}
        assert len([request for request in server.requests if request.headers.get("x-goog-encryption-key") == KEY]) == 6
        assert with_key == {"POST", "PUT", "GET"}
        server.requests.clear()
        list(storage.list())
        storage.delete(["small"])
    assert [request for request in server.requests if "x-goog-encryption-key" in request.headers] == []


@pytest.mark.parametrize("key", ["short", base64.b64encode(bytes(31)).decode(), KEY + "!", "ü" * 44])
def test_a_wrong_encryption_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="GCS_ENCRYPTION_KEY") as caught:
        from_config(settings("x", GCS_ENCRYPTION_KEY=key))
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["GCS_CONTEXT_TIMEOUT", "GCS_MAX_RETRIES", "GCS_MAX_CHUNK_SIZE"])
def test_numbers_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        from_config(settings("x", **{f"WALG_{name}": "1h"}))


@pytest.mark.parametrize(
    ("setting", "part"), [("", 8 << 20), ("1000000", 3 * (256 << 10)), ("5", 256 << 10), ("52428800", 52428800)]
)
def test_size_of_the_parts_of_an_upload(server: GcsServer, setting: str, part: int) -> None:
    with open_gcs(server.url, GCS_MAX_CHUNK_SIZE=setting) as storage:
        storage.put("a", [bytes(part + 1)])
    assert [request.size for request in server.seen("PUT")] == [part, 1]


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_emulator_is_named_as_googles_tools_name_it(server: GcsServer, scheme: str) -> None:
    address = server.url.removeprefix("http://")
    with open_gcs(f"{scheme}{address}") as storage:
        storage.put("a", [b"x"])
    assert "authorization" not in server.requests[0].headers


# credentials


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[[str], str]:
    """Makes a service account's key file for a token server's address."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def make(token_server: str) -> str:
        path = tmp_path / "key.json"
        document = {
            "type": "service_account",
            "client_email": "walpy@project.iam.gserviceaccount.com",
            "private_key": pem.decode(),
            "token_uri": f"{token_server}/token",
        }
        path.write_text(json.dumps(document))
        return str(path)

    return make


def with_credentials(path: str) -> Config:
    return Config.from_mapping(
        {
            "WALG_GS_PREFIX": f"gs://{BUCKET}",
            "GOOGLE_APPLICATION_CREDENTIALS": path,
            "WALPY_STORAGE_DEADLINE": "1s",
            "WALPY_READ_TIMEOUT": "1s",
        }
    )


TOKEN = Answer(200, (("Content-Type", "application/json"),), b'{"access_token": "t0k3n", "expires_in": 3600}')


def test_a_key_file_signs_requests(
    server: GcsServer, key_file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walpy.storage.gcs.ENDPOINT", server.url)
    with FaultServer(TOKEN) as tokens:
        storage = from_config(with_credentials(key_file(tokens.url)))
        storage.put("a", [b"x"])
        storage.stat("a")
        storage.close()
        assert len(tokens.requests) == 1
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer t0k3n"] * 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(400, (("Content-Type", "application/json"),), b'{"error": "invalid_grant"}'), AccessDenied),
        (NEVER, StorageUnavailable),
    ],
)
def test_a_token_that_cannot_be_had(
    server: GcsServer,
    key_file: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    kind: type[StorageError],
) -> None:
    monkeypatch.setattr("walpy.storage.gcs.ENDPOINT", server.url)
    started = time.monotonic()
    with FaultServer(answer) as tokens:
        storage = from_config(with_credentials(key_file(tokens.url)))
        with pytest.raises(kind):
            storage.stat("a")
        storage.close()
    assert time.monotonic() - started < 10
    assert server.requests == []


@pytest.mark.parametrize("text", [None, "", "{}", "not json", '{"type": "service_account"}'])
def test_a_useless_key_file_is_access_denied(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "key.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AccessDenied) as caught:
        from_config(with_credentials(str(path)))
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.hint


def test_no_credentials_at_all_are_access_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # a metadata server is not on the loopback
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(AccessDenied, match="search for Google credentials failed") as caught:
        from_config(with_credentials(""))
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.hint


def test_the_client_library_is_not_imported() -> None:
    """It would double what a wal-push costs before it starts."""
    program = "import sys, walpy.storage.gcs; print('google.cloud.storage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout == b"False\n"
