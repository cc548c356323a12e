"""DARE: the layout of packages, by hand, and both versions and ciphers."""

import os
import random
import struct
from collections.abc import Iterable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tests.fixtures.ciphers import KEY
from walpy.errors import DataCorrupt
from walpy.stream.dare import HEADER_SIZE, PACKAGE_SIZE, PAYLOAD_SIZE, PIECE_PACKAGES, Decryptor, Encryptor
from walpy.stream.transform import pump

AEADS = {0: AESGCM, 1: ChaCha20Poly1305}
PAYLOADS = [b"\1" * PAYLOAD_SIZE, b"\2" * PAYLOAD_SIZE, b"the end"]


def decrypted(*chunks: bytes) -> bytes:
    return b"".join(bytes(chunk) for chunk in pump(chunks, [Decryptor(KEY)]))


def encrypted(plain: bytes, cipher: int = 0, head: bytes = b"") -> bytes:
    return b"".join(bytes(chunk) for chunk in pump([plain], [Encryptor(KEY, head, cipher=cipher)]))


def written_20(payloads: Iterable[bytes], cipher: int, *, last: int = 2) -> bytes:
    """A stream as DARE.md describes version 2.0; last: number of the package that is marked."""
    nonce = bytearray(os.urandom(12))
    stream = b""
    for number, payload in enumerate(payloads):
        nonce[0] = nonce[0] & 0x7F | (0x80 if number == last else 0)
        header = struct.pack("<BBH", 0x20, cipher, len(payload) - 1)
        used = bytes(nonce[:8]) + struct.pack("<I", struct.unpack("<I", nonce[8:])[0] ^ number)
        stream += header + bytes(nonce) + AEADS[cipher](KEY).encrypt(used, payload, header)
    return stream


def written_10(payloads: Iterable[bytes], cipher: int) -> bytes:
    """The same of version 1.0."""
    drawn = os.urandom(8)
    stream = b""
    for number, payload in enumerate(payloads):
        header = struct.pack("<BBH", 0x10, cipher, len(payload) - 1)
        nonce = struct.pack("<I", number) + drawn
        stream += header + nonce + AEADS[cipher](KEY).encrypt(nonce, payload, header)
    return stream


@pytest.mark.parametrize("cipher", AEADS)
@pytest.mark.parametrize("write", [written_20, written_10])
def test_streams_by_the_book_are_read(write: object, cipher: int) -> None:
    stream = write(PAYLOADS, cipher)  # type: ignore[operator]
    assert decrypted(stream) == b"".join(PAYLOADS)
    assert decrypted(*(stream[start : start + 999] for start in range(0, len(stream), 999))) == b"".join(PAYLOADS)


@pytest.mark.parametrize("cipher", AEADS)
def test_what_is_written_is_by_the_book(cipher: int) -> None:
    stream = encrypted(b"".join(PAYLOADS), cipher, b"head")
    assert stream[:4] == b"head"
    packages = [stream[start : start + PACKAGE_SIZE] for start in range(4, len(stream), PACKAGE_SIZE)]
    fields = [package[4:16] for package in packages]
    assert [field[0] >> 7 for field in fields] == [0, 0, 1]
    assert len({bytes([field[0] & 0x7F]) + field[1:] for field in fields}) == 1
    for number, (package, payload) in enumerate(zip(packages, PAYLOADS, strict=True)):
        assert package[:4] == struct.pack("<BBH", 0x20, cipher, len(payload) - 1)
        nonce = package[4:12] + struct.pack("<I", struct.unpack("<I", package[12:16])[0] ^ number)
        assert AEADS[cipher](KEY).decrypt(nonce, package[HEADER_SIZE:], package[:4]) == payload


def test_a_multiple_of_the_payload_ends_with_a_full_package() -> None:
    stream = encrypted(bytes(2 * PAYLOAD_SIZE))
    assert len(stream) == 2 * PACKAGE_SIZE
    assert stream[PACKAGE_SIZE + 4] & 0x80


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "no encrypted data"),
        (written_20(PAYLOADS, 0, last=9), "truncated"),
        (written_20(PAYLOADS, 0, last=1), "other data follow"),
        (written_20(PAYLOADS, 0)[: 2 * PACKAGE_SIZE], "truncated"),
        (written_20(PAYLOADS, 0)[: 2 * PACKAGE_SIZE + 32], "truncated"),
        (written_20(PAYLOADS, 0)[: 2 * PACKAGE_SIZE + 33], "package 2 .* has another size"),
        (written_20(PAYLOADS, 0) + b"x", "package 2 .* has another size"),
        (written_20(PAYLOADS, 0)[PACKAGE_SIZE:], "package 0 .* is not authentic"),
        (written_20(PAYLOADS[:1], 0) + written_20(PAYLOADS[:1], 0), "package 1 .* is not of this stream"),
        (written_20(PAYLOADS[:1], 0) + written_20(PAYLOADS[:1], 1), "package 1 .* is not of this stream"),
        (written_20(PAYLOADS[:1], 0) + written_10(PAYLOADS[:1], 0), "package 1 .* is not of this stream"),
        (written_10(PAYLOADS, 0)[PACKAGE_SIZE:], "package 0 .* is out of order"),
        (b"\x20\x02" + bytes(40), "they begin with 2002"),
        (b"\x30\x00" + bytes(40), "they begin with 3000"),
    ],
)
def test_other_streams_are_damaged(stream: bytes, message: str) -> None:
    with pytest.raises(DataCorrupt, match=message):
        decrypted(stream)


def test_the_counter_is_xored_not_added() -> None:
    """A nonce whose last bytes are all ones tells the two apart."""
    plain = random.Random(0).randbytes(3 * PAYLOAD_SIZE)
    encryptor = Encryptor(KEY)
    encryptor._nonce = b"\1" * 8 + b"\xff" * 4
    stream = b"".join(bytes(chunk) for chunk in pump([plain], [encryptor]))
    package = stream[PACKAGE_SIZE : 2 * PACKAGE_SIZE]
    nonce = b"\1" * 8 + b"\xfe\xff\xff\xff"
    assert AESGCM(KEY).decrypt(nonce, package[16:], package[:4]) == plain[PAYLOAD_SIZE : 2 * PAYLOAD_SIZE]
    assert decrypted(stream) == plain


def test_other_keys_open_nothing() -> None:
    with pytest.raises(DataCorrupt, match=r"package 0 .* is not authentic"):
        list(pump([encrypted(b"data")], [Decryptor(bytes(32))]))


@pytest.mark.parametrize("size", [1000, PACKAGE_SIZE, 1 << 20])
def test_a_large_chunk_comes_in_small_pieces(size: int) -> None:
    plain = os.urandom(11 * PAYLOAD_SIZE + 5)
    stored = encrypted(plain)
    decryptor = Decryptor(KEY)
    chunks = [stored[start : start + size] for start in range(0, len(stored), size)]
    pieces = [bytes(piece) for chunk in chunks for piece in decryptor.pieces(chunk)]
    assert b"".join([*pieces, decryptor.finish()]) == plain
    assert max(map(len, pieces)) <= PIECE_PACKAGES * PAYLOAD_SIZE
