"""For every cipher configured and every kind of object: it is read, or the error says what it is and what reads it."""

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fixtures.ciphers import AwsServer, serving
from tests.fixtures.yandex import Cloud
from walpy.archive import Archive, open_archive
from walpy.config import Config
from walpy.errors import DataCorrupt, SecretKeyMissing, WrongKey
from walpy.stream.identify import SETTINGS

NAME = "000000010000000000000001"
OBJECT = f"wal_005/{NAME}.lz4"
CONTENT = b"segment" * 10_000
KEYS = Path(__file__).resolve().parents[1] / "golden" / "openpgp"
CV25519 = (KEYS / "cv25519" / "key.asc").read_bytes()
RECIPIENTS = {
    "OpenPGP": "7F0C88287D566C53",
    "another OpenPGP": "DA6230BFC7CB6A75",
}  # subkeys
SODIUM = {"WALG_LIBSODIUM_KEY_TRANSFORM": "hex", "WALG_LIBSODIUM_KEY": "5e" * 32}


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, dict[str, str]]]:
    """Settings of every cipher, by its name; the key services are there."""
    with ExitStack() as stack:
        aws, cloud = (stack.enter_context(serving(server)) for server in (AwsServer(), Cloud()))
        envelope = base64.b64encode(cloud.wrap(CV25519)).decode()
        credentials = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_ENDPOINT_URL_KMS": aws.url}
        yield {
            "": {},
            "libsodium": SODIUM,
            "another libsodium": SODIUM | {"WALG_LIBSODIUM_KEY": "e5" * 32},
            "OpenPGP": {"WALG_PGP_KEY_PATH": str(KEYS / "cv25519" / "key.asc")},
            "another OpenPGP": {"WALG_PGP_KEY_PATH": str(KEYS / "rsa4096" / "key.asc")},
            "AWS KMS": {"WALG_CSE_KMS_ID": "alias/a", "WALG_CSE_KMS_REGION": "us-east-1", **credentials},
            "Yandex KMS": {"YC_CSE_KMS_KEY_ID": "key-1", **cloud.settings()},
            "envelope OpenPGP": {
                "WALG_ENVELOPE_PGP_KEY": envelope,
                "WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID": "key-1",
                **cloud.settings(),
            },
        }


NAMES = ("", *SETTINGS, "another libsodium", "another OpenPGP")


def read(archive: Archive) -> bytes:
    with archive.open_wal(NAME) as chunks:
        return b"".join(map(bytes, chunks))


@pytest.mark.parametrize("stored", NAMES)
@pytest.mark.parametrize("configured", NAMES)
def test_every_object_under_every_cipher(
    configured: str, stored: str, settings: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    place = {"WALG_FILE_PREFIX": str(tmp_path), "WALPY_STORAGE_DEADLINE": "5s"}

    def opened(name: str) -> Archive:
        return open_archive(Config.from_mapping({**place, **settings[name]}))

    opened(stored).put_wal(NAME, [CONTENT])
    if configured == stored:
        assert read(opened(configured)) == CONTENT
        return
    with pytest.raises(DataCorrupt) as caught:
        read(opened(configured))
    kind, asked = stored.removeprefix("another "), configured.removeprefix("another ")
    said, hint = str(caught.value), caught.value.hint
    assert f"object '{OBJECT}' " in said
    assert not any(secret in said + hint for secret in ("5e5e", "e5e5"))
    if kind == "libsodium":  # leaves no mark
        assert type(caught.value) is DataCorrupt
        assert ("another key" if asked == kind else "WALG_LIBSODIUM_KEY") in hint
        return
    assert type(caught.value) is WrongKey
    if not kind:
        assert f"is plain, lz4, and the settings are for {asked}: " in said
        assert f"not encrypted: it is read without the settings of {asked}" in hint
        return
    assert f"{SETTINGS[kind]} would read it" in hint
    if kind == "OpenPGP":
        assert f"OpenPGP for {RECIPIENTS[stored]} (" in said
    if kind == asked == "OpenPGP":
        assert "openpgp: incorrect key: the message is encrypted for " in said
    else:
        assert f", and the settings are for {asked or 'no cipher'}: " in said


def test_public_keys_alone(settings: dict[str, dict[str, str]], tmp_path: Path) -> None:
    place = {"WALG_FILE_PREFIX": str(tmp_path)}
    public = {"WALG_PGP_KEY_PATH": str(KEYS / "unusable" / "sign-only.asc")}
    open_archive(Config.from_mapping(place | settings["OpenPGP"])).put_wal(NAME, [CONTENT])
    with pytest.raises(SecretKeyMissing) as caught:
        read(open_archive(Config.from_mapping(place | public)))
    assert f"object '{OBJECT}' (OpenPGP for " in str(caught.value)
    assert "Reading needs the private key block" in caught.value.hint
