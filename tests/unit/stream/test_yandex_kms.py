"""Yandex KMS: its REST form and that of IAM, spoken with a stand-in that verifies tokens and signatures."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.fixtures.ciphers import opened, sealed, serving, wrap
from tests.fixtures.yandex import Cloud
from walpy.config import Config
from walpy.errors import AccessDenied, ConfigError, DataCorrupt, WalpyError
from walpy.stream.envelope import unwrapper
from walpy.stream.kms import KmsCipher
from walpy.stream.yandex_kms import SizedHeader, from_config


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def cloud(private_key: rsa.RSAPrivateKey) -> Iterator[Cloud]:
    with serving(Cloud(private_key.public_key())) as server:
        yield server


@pytest.fixture
def key_file(private_key: rsa.RSAPrivateKey, tmp_path: Path) -> Path:
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    warning = "PLEASE DO NOT REMOVE THIS LINE! Yandex.Cloud SA Key ID <ajekey>\n"
    document = {"id": "ajekey", "service_account_id": "ajeaccount", "private_key": warning + pem}
    path = tmp_path / "account.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def made(cloud: Cloud, **more: str) -> KmsCipher:
    endpoints = dict.fromkeys(
        ("WALPY_YC_KMS_ENDPOINT", "WALPY_YC_IAM_ENDPOINT", "WALPY_YC_METADATA_ENDPOINT"), cloud.url
    )
    settings = {"YC_CSE_KMS_KEY_ID": "key-1", "WALPY_STORAGE_DEADLINE": "5s", **endpoints, **more}
    return from_config(Config.from_mapping(settings))


def test_with_a_service_account(cloud: Cloud, key_file: Path) -> None:
    cipher = made(cloud, YC_SERVICE_ACCOUNT_KEY_FILE=str(key_file))
    stored = sealed(cipher, b"data" * 50_000)
    assert stored.startswith(b"yckms\x01" + (184).to_bytes(4, "little"))
    assert stored[194:196] == b"\x20\x00"  # WAL-G reads no other cipher here
    assert opened(cipher, stored) + opened(cipher, stored) == b"data" * 100_000
    assert cloud.requests == ["tokens", "key-1:generateDataKey", "key-1:decrypt"]


def test_with_the_account_of_the_machine(cloud: Cloud) -> None:
    cipher = made(cloud)
    assert opened(cipher, sealed(cipher, b"data")) == b"data"
    assert cloud.requests == ["token", "key-1:generateDataKey", "key-1:decrypt"]


def test_a_refused_token_is_renewed_for_the_next_object(cloud: Cloud) -> None:
    cipher = made(cloud)
    sealed(cipher, b"data")
    cloud.token = "t1.second"
    with pytest.raises(AccessDenied, match="The token is invalid"):
        cipher.encryptor()
    assert opened(cipher, sealed(cipher, b"data")) == b"data"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_repeated(cloud: Cloud, status: int) -> None:
    cloud.failures = [status, status]
    cipher = made(cloud)
    assert opened(cipher, sealed(cipher, b"data")) == b"data"


@pytest.mark.parametrize(("status", "kind"), [(403, AccessDenied), (404, ConfigError), (400, ConfigError)])
def test_refusals(cloud: Cloud, status: int, kind: type[WalpyError]) -> None:
    cipher = made(cloud)
    sealed(cipher, b"data")
    cloud.failures = [status]
    with pytest.raises(kind, match="Yandex KMS generateDataKey with key 'key-1' failed: as the test wants it"):
        cipher.encryptor()


def test_another_service_s_key_is_damage(cloud: Cloud) -> None:
    cipher = made(cloud)
    stored = bytearray(sealed(cipher, b"data"))
    stored[10] ^= 1
    with pytest.raises(DataCorrupt, match="ciphertext is invalid"):
        opened(cipher, stored)


def test_an_unreachable_service_is_no_failure_of_the_storage(cloud: Cloud) -> None:
    cipher = made(cloud, WALPY_YC_KMS_ENDPOINT="http://127.0.0.1:1", WALPY_STORAGE_DEADLINE="0")
    with pytest.raises(WalpyError, match="cannot be reached") as caught:
        cipher.encryptor()
    assert type(caught.value) is WalpyError


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"id": "a", "service_account_id": "b", "private_key": "secret"}'])
def test_a_file_that_is_no_key(cloud: Cloud, tmp_path: Path, content: str) -> None:
    path = tmp_path / "account.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(
        ConfigError, match=r"account\.json' of YC_SERVICE_ACCOUNT_KEY_FILE is no authorized key"
    ) as caught:
        made(cloud, YC_SERVICE_ACCOUNT_KEY_FILE=str(path))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["kms.yandex", "ftp://kms.yandex", "https://", "https://user@kms.yandex"])
def test_an_endpoint_that_is_none(cloud: Cloud, endpoint: str) -> None:
    with pytest.raises(ConfigError, match="WALPY_YC_KMS_ENDPOINT has the wrong value"):
        made(cloud, WALPY_YC_KMS_ENDPOINT=endpoint)


def test_the_key_of_an_envelope_is_unwrapped(cloud: Cloud, key_file: Path) -> None:
    endpoints = {"WALPY_YC_KMS_ENDPOINT": cloud.url, "WALPY_YC_IAM_ENDPOINT": cloud.url}
    settings = {"WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID": "key-1", **endpoints}
    settings["WALG_ENVELOPE_PGP_YC_SERVICE_ACCOUNT_KEY_FILE"] = str(key_file)
    key = os.urandom(32)
    assert unwrapper(Config.from_mapping(settings))(wrap(key)) == key
    assert cloud.requests == ["tokens", "key-1:decrypt"]


def test_headers_that_no_writer_makes() -> None:
    header = SizedHeader()
    assert header.size(b"") == header.size(b"yckms\x01") == 10
    for head in (b"yckms\x02", b"x", b"yckms\x01\0\0\0\0", b"yckms\x01\x01\x10\0\0"):
        with pytest.raises(DataCorrupt):
            header.size(head)
    for size in (0, 4097):
        with pytest.raises(ConfigError):
            header.pack(bytes(size))


def test_no_token_is_logged(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        sealed(made(cloud), b"data")
    assert "t1." not in caplog.text
