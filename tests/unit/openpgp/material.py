"""Keys and objects of tests/golden/openpgp, and what reads them."""

import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from walpy.openpgp.cipher import OpenPgpCipher
from walpy.stream.library import Decoder

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "openpgp"


@cache
def golden_cipher(name: str, passphrase: str = "") -> OpenPgpCipher:
    return OpenPgpCipher.from_key((GOLDEN / name / "key.asc").read_bytes(), passphrase=passphrase)


def vector(name: str) -> bytes:
    text = json.loads((GOLDEN / "vectors.json").read_text("utf-8"))[name]
    return bytes.fromhex(text) if name.startswith("tag20") else base64.b64decode(text)


def in_chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def encrypt(cipher: OpenPgpCipher, data: bytes, size: int = 1 << 20) -> bytes:
    encryptor = cipher.encryptor()
    return b"".join([*map(encryptor.update, in_chunks(data, size)), encryptor.finish()])


def decrypt(cipher: OpenPgpCipher, data: bytes, size: int = 1 << 20) -> bytes:
    return decode(cipher.decryptor(), data, size)


def decode(decoder: Decoder, data: bytes, size: int = 1 << 20) -> bytes:
    return b"".join([*map(decoder.update, in_chunks(data, size)), decoder.finish()])
