"""What stored bytes are, and which setting reads them."""

from pathlib import Path

import pytest

from tests.fixtures.ciphers import CIPHERS, sealed
from tests.unit.wal.synthetic import FIRST, segment
from walpy.stream.codecs import METHODS
from walpy.stream.identify import NO_MARK, advice, identify
from walpy.stream.transform import pump

CODECS = Path(__file__).resolve().parents[2] / "golden" / "codecs"
RSA = bytes.fromhex("c1c14c03f6f9c51b1c2f6d5a0110") + bytes(40)  # of WAL-G: new form, two length octets, RSA
OLD_FORM = bytes.fromhex("85010c03f6f9c51b1c2f6d5a0110") + bytes(40)  # of gpg


def made_by(method: str) -> bytes:
    return b"".join(bytes(chunk) for chunk in pump([b"data" * 100], [METHODS[method].encoder()]))


@pytest.mark.parametrize("method", ["lz4", "zstd", "lzma"])
def test_codecs(method: str) -> None:
    assert identify(made_by(method)).codec == method


@pytest.mark.parametrize(
    ("file", "codec"),
    [
        ("history.lz4", "lz4"),
        ("history.zst", "zstd"),
        ("history.gz", "gzip"),
        ("history.lzma", "lzma"),
        ("history.lzo", "lzop"),
    ],
)
def test_codecs_of_wal_g(file: str, codec: str) -> None:
    found = identify((CODECS / file).read_bytes())
    assert (found.codec, found.cipher) == (codec, "")


@pytest.mark.parametrize("name", ["AWS KMS", "Yandex KMS"])
def test_key_services(name: str) -> None:
    assert identify(sealed(CIPHERS[name](), b"data")).cipher == name


def test_an_envelope_tells_for_which_keys() -> None:
    head = b"envelope-yc-kms\x01" + (16).to_bytes(4, "little") + b"AABBCCDDEEFF0011" + bytes(300)
    found = identify(head)
    assert found.cipher == "envelope OpenPGP"
    assert "AABBCCDDEEFF0011" in found.text


@pytest.mark.parametrize("head", [RSA, OLD_FORM])
def test_openpgp(head: bytes) -> None:
    assert identify(head).cipher == "OpenPGP"


def test_an_uncompressed_segment() -> None:
    assert identify(segment(FIRST)[:8192]).text == "plain, an uncompressed WAL segment"


def test_no_mark() -> None:
    for head in (b"", b"\xc1", bytes(300), made_by("brotli"), b"{", b"\xd2" + bytes(40)):
        assert identify(head) == NO_MARK


def test_libsodium_is_taken_for_nothing_else() -> None:
    cipher = CIPHERS["libsodium"]()
    found = [identify(sealed(cipher, bytes(300))) for _ in range(3000)]
    assert sum(item != NO_MARK for item in found) <= 3


@pytest.mark.parametrize(
    ("head", "configured", "said"),
    [
        (made_by("lz4"), "", ""),
        (made_by("lz4"), "libsodium", "It is plain, lz4, not encrypted"),
        (RSA, "", "WALG_PGP_KEY_PATH would read it"),
        (RSA, "libsodium", "WALG_PGP_KEY_PATH would read it"),
        (sealed(CIPHERS["AWS KMS"](), b"data"), "", "WALG_CSE_KMS_ID would read it"),
        (sealed(CIPHERS["AWS KMS"](), b"data"), "AWS KMS", ""),
        (sealed(CIPHERS["Yandex KMS"](), b"data"), "AWS KMS", "YC_CSE_KMS_KEY_ID would read it"),
        (bytes(300), "", "It bears no mark of its format"),
        (bytes(300), "Yandex KMS", "It bears no mark of Yandex KMS"),
        (bytes(300), "libsodium", ""),
    ],
)
def test_advice(head: bytes, configured: str, said: str) -> None:
    text = advice(head, CIPHERS[configured]() if configured else None)
    assert said in text
    assert bool(text) == bool(said)
