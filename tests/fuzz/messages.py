"""OpenPGP messages made of any parts, also such as walpy never writes."""

import hashlib
import os
import random

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESOCB3
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.unit.openpgp.material import golden_cipher
from walpy.openpgp.algorithms import AES128, CIPHERS, GCM, NONCE_SIZES, OCB
from walpy.openpgp.packets import LITERAL, encode_length, encode_packet
from walpy.openpgp.session_keys import SessionKey, encrypt_session_key

AEADS = {OCB: AESOCB3, GCM: AESGCM}
KEY = bytes(range(16))  # the session key of all messages


def session_key_packet(cipher: str = "cv25519") -> bytes:
    """KEY for a golden key."""
    return encrypt_session_key(golden_cipher(cipher).recipients()[0].key, SessionKey(AES128, KEY))


def literal(data: bytes) -> bytes:
    return encode_packet(LITERAL, b"b\0\0\0\0\0" + data)


def seipd1(content: bytes) -> bytes:
    """A packet body: CFB and modification detection code."""
    plain = bytes(18) + content + b"\xd3\x14"
    plain += hashlib.sha1(plain).digest()
    return b"\x01" + CIPHERS[AES128].cfb(KEY).encryptor().update(plain)


def seipd2(content: bytes, mode: int = OCB, chunk: int = 0) -> bytes:
    """A packet body of version 2; chunk: exponent of the chunk size."""
    fields = bytes([AES128, mode, chunk])
    salt = os.urandom(32)
    derived = HKDF(hashes.SHA256(), 16 + NONCE_SIZES[mode] - 8, salt, b"\xd2\x02" + fields).derive(KEY)
    return (
        b"\x02"
        + fields
        + salt
        + _chunks(content, mode, chunk, derived[:16], derived[16:] + bytes(8), b"\xd2\x02" + fields)
    )


def tag20(content: bytes, mode: int = OCB, chunk: int = 0) -> bytes:
    """A body of the packet that gpg writes."""
    fields = bytes([AES128, mode, chunk])
    nonce = os.urandom(NONCE_SIZES[mode])
    return b"\x01" + fields + nonce + _chunks(content, mode, chunk, KEY, nonce, b"\xd4\x01" + fields, is_indexed=True)


def _chunks(
    content: bytes, mode: int, chunk: int, key: bytes, nonce: bytes, start: bytes, *, is_indexed: bool = False
) -> bytes:
    aead, size = AEADS[mode](key), 1 << (chunk + 6)
    pieces = [content[place : place + size] for place in range(0, len(content), size)]
    sealed, total = b"", b""
    for index, piece in enumerate([*pieces, b""]):
        number = (int.from_bytes(nonce) ^ index).to_bytes(len(nonce))
        total = len(content).to_bytes(8) if index == len(pieces) else b""
        associated = start + (index.to_bytes(8) if is_indexed else b"") + total
        sealed += aead.encrypt(number, piece, associated)
    return sealed


def framed(tag: int, body: bytes, chance: random.Random) -> bytes:
    """A packet with a length in any form that is right, some of them not the shortest."""
    match chance.randrange(8):
        case 0 if tag < 16:
            return bytes([0x83 | tag << 2]) + body  # to the end of what encloses it
        case 1 if tag < 16:
            size = chance.choice([octets for octets in (1, 2, 4) if len(body) < 1 << 8 * octets])
            return bytes([0x80 | tag << 2 | size.bit_length() - 1]) + len(body).to_bytes(size) + body
        case 2:
            return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body
        case 3 | 4:
            return bytes([0xC0 | tag]) + partial_bodies(body, chance)
    return encode_packet(tag, body)


def partial_bodies(body: bytes, chance: random.Random) -> bytes:
    """Lengths and parts of a body, cut at random, also into parts that are shorter than the first may be."""
    made = b""
    while body and chance.random() < 0.9:
        power = chance.randrange(len(body).bit_length())
        made += bytes([0xE0 | power]) + body[: 1 << power]
        body = body[1 << power :]
    return made + encode_length(len(body)) + body
