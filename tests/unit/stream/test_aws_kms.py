"""AWS KMS: keys through the SDK, from a stand-in that wraps them in 184 bytes, and from moto, which takes 96."""

import logging
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.fixtures.ciphers import AwsServer, opened, sealed, serving
from walpy.config import Config
from walpy.errors import AccessDenied, ConfigError, DataCorrupt, WalpyError
from walpy.stream.aws_kms import AwsKeys, FixedHeader, from_config
from walpy.stream.kms import KmsCipher

SETTINGS = {
    "WALG_CSE_KMS_ID": "arn:aws:kms:us-east-1:000000000000:key/fixture",
    "WALG_CSE_KMS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "very-secret",
    "WALPY_STORAGE_DEADLINE": "5s",
}
ENDPOINT = "AWS_ENDPOINT_URL_KMS"


@pytest.fixture
def server() -> Iterator[AwsServer]:
    with serving(AwsServer()) as server:
        yield server


@pytest.fixture
def cipher(server: AwsServer) -> KmsCipher:
    return from_config(Config.from_mapping({**SETTINGS, ENDPOINT: server.url}))


def test_one_request_for_each_object_written_one_for_each_key_read(server: AwsServer, cipher: KmsCipher) -> None:
    stored = sealed(cipher, b"data")
    assert server.requests == ["Encrypt"]
    assert opened(cipher, stored) + opened(cipher, stored) == b"datadata"
    assert server.requests == ["Encrypt", "Decrypt"]


def test_nothing_is_asked_before_there_are_data(server: AwsServer, cipher: KmsCipher) -> None:
    cipher.decryptor()
    assert server.requests == []


def test_a_passing_failure_is_repeated(server: AwsServer, cipher: KmsCipher) -> None:
    server.failures = [(500, "KMSInternalException"), (400, "ThrottlingException")]
    assert opened(cipher, sealed(cipher, b"data")) == b"data"
    assert server.requests == ["Encrypt"] * 3 + ["Decrypt"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "AccessDeniedException", AccessDenied),
        (400, "NotFoundException", WalpyError),
        (400, "DisabledException", WalpyError),
    ],
)
def test_refusals_tell_what_to_check(
    server: AwsServer, cipher: KmsCipher, status: int, code: str, kind: type[WalpyError]
) -> None:
    server.failures = [(status, code)]
    with pytest.raises(kind, match=f"cannot encrypt a data key with AWS KMS: .*{code}") as caught:
        cipher.encryptor()
    assert "WALG_CSE_KMS_ID" in caught.value.hint
    assert "very-secret" not in f"{caught.value} {caught.value.hint}"


def test_a_key_that_the_service_does_not_know_is_damage(cipher: KmsCipher) -> None:
    stored = sealed(cipher, b"data")
    with pytest.raises(DataCorrupt, match="it does not know the wrapped key"):
        opened(cipher, b"x" + stored[1:])


def test_an_unreachable_service_is_no_failure_of_the_storage() -> None:
    """A StorageError would be repeated, or answered by another storage, by whoever moves the object."""
    cipher = from_config(
        Config.from_mapping({**SETTINGS, ENDPOINT: "http://127.0.0.1:1", "WALPY_STORAGE_DEADLINE": "0"})
    )
    with pytest.raises(WalpyError, match="AWS KMS") as caught:
        cipher.encryptor()
    assert type(caught.value) is WalpyError


def test_a_region_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(ConfigError, match="cannot set up access to AWS KMS"):
        from_config(Config.from_mapping({"WALG_CSE_KMS_ID": "key"}))


def test_no_secret_is_logged(cipher: KmsCipher, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        opened(cipher, sealed(cipher, b"data"))
    assert "very-secret" not in caplog.text
    assert "Plaintext" not in caplog.text


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def test_keys_of_moto(moto: str) -> None:
    """It checks what is sent; its wrapped keys are read where the header has room for them, and refused where not."""
    credentials = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    client = boto3.client("kms", region_name="us-east-1", endpoint_url=moto, **credentials)
    key_id = client.create_key()["KeyMetadata"]["KeyId"]
    cipher = from_config(Config.from_mapping({**SETTINGS, "WALG_CSE_KMS_ID": key_id, ENDPOINT: moto}))
    assert isinstance(cipher._service, AwsKeys)
    key, wrapped = cipher._service.new_key()
    assert cipher._service.unwrap(wrapped) == key == client.decrypt(CiphertextBlob=wrapped)["Plaintext"]
    with pytest.raises(ConfigError, match=f"wraps a data key in {len(wrapped)} bytes"):
        cipher.encryptor()
    roomy = KmsCipher("AWS KMS", cipher._service, FixedHeader(len(wrapped)))
    assert opened(roomy, sealed(roomy, b"data" * 50_000)) == b"data" * 50_000
