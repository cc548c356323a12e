"""What WAL-G wrote is read, in every form of key; samples of the standards are read."""

import hashlib
import json
import logging
from pathlib import Path

import pytest

from tests.unit.openpgp.material import GOLDEN, decode, decrypt, encrypt, golden_cipher, vector
from walpy.config import Config
from walpy.errors import ConfigError, DataCorrupt
from walpy.openpgp.aead import seipd_reader, tag20_reader
from walpy.openpgp.algorithms import AES128, CIPHERS
from walpy.openpgp.cipher import OpenPgpCipher, from_config
from walpy.openpgp.contents import Contents
from walpy.openpgp.describe import describe
from walpy.openpgp.packets import read_packets
from walpy.openpgp.session_keys import decrypt_session_key, parse_pkesk
from walpy.stream.codecs import codec_for_extension

FOLDERS = ["cv25519", "inline", "passphrase", "rsa4096"]
OBJECTS = [path for folder in FOLDERS for path in sorted((GOLDEN / folder).glob("0*"))]


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: f"{path.parent.name}/{path.name}")
@pytest.mark.parametrize("size", [97, 1 << 20])
def test_object_of_walg_is_read_with_its_settings(path: Path, size: int) -> None:
    expected = json.loads((path.parent / "expected.json").read_text("utf-8"))
    settings = {key: value.replace("@ROOT@", str(path.parent)) for key, value in expected["env"].items()}
    cipher = from_config(Config.from_mapping(settings))
    plain = decrypt(cipher, path.read_bytes(), size)
    segment = b"".join(codec_for_extension(path.suffix[1:]).decode([plain]))
    assert hashlib.sha256(segment).hexdigest() == expected["wal_sha256"][path.stem]
    assert decrypt(cipher, encrypt(cipher, plain)) == plain


def test_message_begins_as_walg_s() -> None:
    theirs = (GOLDEN / "rsa4096" / "00000001000000000000001C.lz4").read_bytes()
    cipher = golden_cipher("rsa4096")
    ours = encrypt(cipher, decrypt(cipher, theirs))
    assert describe(ours) == describe(theirs)
    assert ours[3:12] == theirs[3:12]  # version and key id of the session key packet
    key = cipher.private_keys()[-1]
    packets = list(read_packets(encrypt(cipher, b"short")))
    assert decrypt_session_key(parse_pkesk(packets[0].body), key).cipher == AES128


def test_one_byte_has_plain_lengths_on_both_layers() -> None:
    _, data = read_packets(encrypt(golden_cipher("cv25519"), b"x"))
    assert len(data.body) == 0x32


@pytest.mark.parametrize("name", ["v6_pkesk_x25519_seipd2_ocb", "v3_pkesk_x25519_seipd1"])
@pytest.mark.parametrize(
    ("key", "passphrase"),
    [("v6_secret_key", ""), ("v6_locked_secret_key", "correct horse battery staple")],
)
def test_version_6_samples(name: str, key: str, passphrase: str) -> None:
    cipher = OpenPgpCipher.from_key(vector(key), passphrase=passphrase)
    expected = {"v6_pkesk_x25519_seipd2_ocb": b"Hello, world!", "v3_pkesk_x25519_seipd1": b"Hello World :)"}
    assert decrypt(cipher, vector(name)) == expected[name]
    assert decrypt(cipher, encrypt(cipher, b"to a version 6 key")) == b"to a version 6 key"


@pytest.mark.parametrize(
    ("mode", "session_key"),
    [
        ("eax", "3881bafe985412459b86c36f98cb9a5e"),
        ("ocb", "28e79ab82397d3c63de24ac217d7b791"),
        ("gcm", "1936fc8568980274bb900d8319360c77"),
    ],
)
def test_samples_of_each_mode(mode: str, session_key: str) -> None:
    body = list(read_packets(vector(f"seipd2_{mode}")))[1].body
    reader = seipd_reader(body[1:36], bytes.fromhex(session_key), Contents())
    assert b"".join([*reader.feed(body[36:]), *reader.close()]) == b"Hello, world!"


@pytest.mark.parametrize(
    ("mode", "nonce_size", "session_key"),
    [("eax", 16, "86f1efb86952329f24acd3bfd0e5346d"), ("ocb", 15, "d1f01ba30e130aa7d2582c16e050ae44")],
)
def test_samples_of_gpg_s_packet(mode: str, nonce_size: int, session_key: str) -> None:
    (packet,) = read_packets(vector(f"tag20_{mode}"))
    start = 4 + nonce_size
    reader = tag20_reader(packet.body[1:start], bytes.fromhex(session_key), Contents())
    assert b"".join([*reader.feed(packet.body[start:]), *reader.close()]) == b"Hello, world!\n"


def test_wrong_and_missing_passphrase() -> None:
    locked = (GOLDEN / "passphrase" / "key.asc").read_bytes()
    with pytest.raises(ConfigError, match="is locked"):
        OpenPgpCipher.from_key(locked).decryptor()
    with pytest.raises(ConfigError, match="WALG_PGP_KEY_PASSPHRASE does not unlock") as raised:
        OpenPgpCipher.from_key(locked, passphrase="wrong horse").decryptor()
    assert "horse" not in str(raised.value)


def test_another_key_is_named() -> None:
    data = encrypt(golden_cipher("cv25519"), b"secret")
    with pytest.raises(DataCorrupt, match=r"encrypted for 7F0C88287D566C53, and .* are .*DA6230BFC7CB6A75"):
        decrypt(golden_cipher("rsa4096"), data)


def test_nothing_shows_secrets() -> None:
    cipher = golden_cipher("passphrase", "correct horse battery")
    (certificate,) = cipher.certificates()
    texts = [repr(item) for item in (cipher, certificate, *certificate.secret_keys, *cipher.private_keys())]
    assert all("horse" not in text and len(text) < 60 for text in texts), texts


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o644, True)])
def test_a_secret_key_that_others_can_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    path = tmp_path / "key.asc"
    path.write_bytes((GOLDEN / "cv25519" / "key.asc").read_bytes())
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        from_config(Config.from_mapping({"WALG_PGP_KEY_PATH": str(path)}))
    assert bool(caplog.records) == warned


def test_a_public_key_is_for_everybody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "key.asc"
    path.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    path.chmod(0o644)
    from_config(Config.from_mapping({"WALG_PGP_KEY_PATH": str(path)}))
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "neither an ASCII armor block nor binary"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd\n", "truncated"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxx!!\n-----END PGP PUBLIC KEY BLOCK-----", "not base64"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxsBN\n=AAAA\n-----END PGP PUBLIC KEY BLOCK-----", "wrong checksum"),
        (b"\xc6\x20abc", "truncated"),
    ],
)
def test_what_is_no_key(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenPgpCipher.from_key(text).encryptor()


def test_missing_key_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the key file .* of WALG_PGP_KEY_PATH"):
        from_config(Config.from_mapping({"WALG_PGP_KEY_PATH": str(tmp_path / "none")}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"plain text, not encrypted", "tag byte does not have MSB set"),
        (b"\xcb\x07b\0\0\0\0\0x", "not an encrypted OpenPGP message"),
        (b"\xc9\x03abc", "not integrity protected"),
        (b"", "no encrypted data"),
    ],
)
def test_what_is_no_encrypted_message(data: bytes, message: str) -> None:
    with pytest.raises(DataCorrupt, match=message):
        decode(golden_cipher("cv25519").decryptor(), data)
    assert describe(data) is None or "not integrity protected" in str(describe(data))


def test_every_cipher_of_the_table_works() -> None:
    for cipher in CIPHERS.values():
        key = bytes(range(cipher.key_size))
        assert cipher.cfb(key).decryptor().update(cipher.cfb(key).encryptor().update(b"text")) == b"text"


def test_what_was_made_to_check_a_key_serves_one_object() -> None:
    cipher = OpenPgpCipher.from_key((GOLDEN / "cv25519" / "key.asc").read_bytes())
    cipher.check_encryption()
    stored = [encrypt(cipher, b"data") for _ in range(2)]
    heads = {data[:100] for data in stored}
    assert len(heads) == 2  # each has a session key of its own
    assert [decrypt(cipher, data) for data in stored] == [b"data", b"data"]
