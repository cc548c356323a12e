"""The envelope: header, key service, cache."""

import base64
import logging
import time

import pytest

from tests.unit.openpgp.material import GOLDEN, decode, golden_cipher, in_chunks
from walpy.config import Config
from walpy.errors import ConfigError, DataCorrupt, StorageUnavailable
from walpy.openpgp.envelope import MOST_KEYS, EnvelopeCipher, KeyCache, encode_header, from_config, parse_header

KEY = (GOLDEN / "cv25519" / "key.asc").read_bytes()
CIPHERTEXT = b"what the key service made of the key"


class Service:
    """A key service that knows one ciphertext, and can be switched off."""

    def __init__(self) -> None:
        self.calls = 0
        self.works = True

    def unwrap(self, ciphertext: bytes) -> bytes:
        self.calls += 1
        if not self.works or ciphertext != CIPHERTEXT:
            raise StorageUnavailable("the key service does not answer")
        return KEY


def encrypt(cipher: EnvelopeCipher, data: bytes) -> bytes:
    encryptor = cipher.encryptor()
    return encryptor.update(data) + encryptor.finish()


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_round_trip(size: int) -> None:
    service = Service()
    cipher = EnvelopeCipher(CIPHERTEXT, service.unwrap)
    data = encrypt(cipher, b"archived" * 1000)
    assert data.startswith(b"envelope-yc-kms\x01")
    header = parse_header(data)
    assert header is not None
    assert header.ciphertext == CIPHERTEXT
    assert header.key_ids == golden_cipher("cv25519").certificates()[0].primary.public.name.lstrip("0")
    assert data[header.size] == 0xC1
    decryptor = cipher.decryptor()
    plain = b"".join([*map(decryptor.update, in_chunks(data, size)), decryptor.finish()])
    assert plain == b"archived" * 1000
    assert service.calls == 1  # for both directions, as long as the process lives


def test_a_key_is_asked_for_again_and_an_old_one_serves_when_the_service_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service, now = Service(), time.monotonic()
    cipher = EnvelopeCipher(CIPHERTEXT, service.unwrap, lifetime_seconds=60)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    data = encrypt(cipher, b"x")
    now += 59
    encrypt(cipher, b"x")
    assert service.calls == 1
    now += 2
    encrypt(cipher, b"x")
    assert service.calls == 2
    now += 61
    service.works = False
    with caplog.at_level(logging.WARNING):
        assert decode(cipher.decryptor(), data) == b"x"
    assert "a key that it decrypted earlier is used" in caplog.text
    with pytest.raises(StorageUnavailable):
        EnvelopeCipher(CIPHERTEXT, service.unwrap).encryptor()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no data"),
        (b"envelope-yc", "truncated"),
        (b"plain", "not an object"),
        (b"envelope-yc-kms\x02", "not an object"),
        (b"envelope-yc-kms\x01\xff\xff\xff\xff", "too large"),
        (encode_header("1", CIPHERTEXT)[:-1], "truncated"),
        (encode_header("1", CIPHERTEXT), "no encrypted data"),
    ],
)
def test_damaged_headers(data: bytes, message: str) -> None:
    with pytest.raises(DataCorrupt, match=message):
        decode(EnvelopeCipher(CIPHERTEXT, Service().unwrap).decryptor(), data)


def test_few_unwrapped_keys_are_kept() -> None:
    asked: list[bytes] = []
    keys = KeyCache(lambda ciphertext: asked.append(ciphertext) or KEY, 0)  # type: ignore[func-returns-value]
    for number in range(MOST_KEYS + 1):
        keys.cipher(bytes([number]))
    keys.cipher(bytes([MOST_KEYS]))
    assert len(asked) == MOST_KEYS + 1
    keys.cipher(bytes([0]))  # the oldest had to go
    assert len(asked) == MOST_KEYS + 2


def test_settings() -> None:
    service = Service()
    text = base64.encodebytes(CIPHERTEXT).decode()
    cipher = from_config(Config.from_mapping({"WALG_ENVELOPE_PGP_KEY": text}), service.unwrap)
    assert decode(cipher.decryptor(), encrypt(cipher, b"x")) == b"x"
    with pytest.raises(ConfigError, match="WALG_ENVELOPE_PGP_KEY is no base64"):
        from_config(Config.from_mapping({"WALG_ENVELOPE_PGP_KEY": "???"}), service.unwrap)
    with pytest.raises(ConfigError, match="too large"):
        EnvelopeCipher(bytes(9000), lambda _: KEY).encryptor()
