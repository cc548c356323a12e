"""Inputs to begin with: golden objects, and small ones that the golden keys make in every form that is read."""

import bz2
import random
import zlib
from functools import cache
from pathlib import Path

import nacl.bindings as sodium

from tests.fixtures.ciphers import KEY, sealed, unwrap, wrap
from tests.fuzz import messages
from tests.unit.openpgp.material import GOLDEN, decrypt, encrypt, golden_cipher, vector
from walpy.openpgp.algorithms import GCM, OCB
from walpy.openpgp.armor import dearmor
from walpy.openpgp.envelope import encode_header
from walpy.openpgp.packets import AEAD, COMPRESSED, SEIPD, encode_packet
from walpy.stream import dare
from walpy.stream.sodium import PLAIN_SIZE, SodiumCipher
from walpy.stream.yandex_kms import SizedHeader

CIPHERS = GOLDEN.parent / "ciphers"
CHANCE = random.Random(6)
SHORT, MIDDLE, LONG = b"archived", CHANCE.randbytes(3000), CHANCE.randbytes(140_000)
PLAINS = (SHORT, MIDDLE, LONG)
SAMPLES = (b"Hello, world!", b"Hello World :)")  # of RFC 9580
PACKAGES = CHANCE.randbytes(2 * dare.PAYLOAD_SIZE + 77)
FRAMES = CHANCE.randbytes(5 * PLAIN_SIZE + 9)


@cache
def contents() -> list[bytes]:
    """What may be inside the encryption, of SHORT and MIDDLE."""
    plain = messages.literal(MIDDLE)
    nested = encode_packet(COMPRESSED, b"\x02" + zlib.compress(plain))
    deflated = zlib.compressobj(wbits=-15)
    return [
        messages.literal(SHORT),
        plain,
        nested,
        encode_packet(COMPRESSED, b"\x00" + plain),
        encode_packet(COMPRESSED, b"\x01" + deflated.compress(plain) + deflated.flush()),
        encode_packet(COMPRESSED, b"\x03" + bz2.compress(plain)),
        encode_packet(COMPRESSED, b"\x02" + zlib.compress(nested)),
        encode_packet(4, b"\x03\0\x08\x16" + bytes(8) + b"\x01") + plain + encode_packet(2, b"\x04\x00" + bytes(60)),
    ]


@cache
def openpgp() -> list[bytes]:
    """Messages for the golden key cv25519 and for that of RFC 9580's samples."""
    cipher, head = golden_cipher("cv25519"), messages.session_key_packet()
    made = [encrypt(cipher, plain) for plain in PLAINS]
    for content in contents():
        made.append(head + encode_packet(SEIPD, messages.seipd1(content)))
        for mode in (OCB, GCM):
            made.append(head + encode_packet(SEIPD, messages.seipd2(content, mode)))
            made.append(head + encode_packet(AEAD, messages.tag20(content, mode, 2)))
    made += [vector("v6_pkesk_x25519_seipd2_ocb"), vector("v3_pkesk_x25519_seipd1")]
    return [*made, (GOLDEN / "cv25519" / "00000001000000000000001C.lz4").read_bytes()]


@cache
def golden_openpgp() -> bytes:
    """What the golden object holds."""
    return decrypt(golden_cipher("cv25519"), openpgp()[-1])


@cache
def keys() -> list[bytes]:
    """Key rings, armored and binary."""
    armored = [(GOLDEN / name / "key.asc").read_bytes() for name in ("cv25519", "passphrase", "inline")]
    return [*armored, *map(dearmor, armored), vector("v6_secret_key"), vector("v6_locked_secret_key")]


@cache
def sodium_streams() -> list[bytes]:
    """Streams of FRAMES and of parts of it; the last ones with tags that walpy does not write."""
    made = [sealed(SodiumCipher(KEY), FRAMES[:size]) for size in (0, 1, PLAIN_SIZE, len(FRAMES))]
    made += [sodium_stream(tags) for tags in ([0, 3, 0, 3], [0, 1, 3], [0, 2, 3], [0, 0], [3])]
    return [*made, (CIPHERS / "sodium-none" / "archive/wal_005/00000001000000000000001D.lz4").read_bytes()[:30_000]]


def sodium_stream(tags: list[int]) -> bytes:
    """Full frames of FRAMES with these tags."""
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    made = sodium.crypto_secretstream_xchacha20poly1305_init_push(state, KEY)
    for index, tag in enumerate(tags):
        frame = FRAMES[index * PLAIN_SIZE : (index + 1) * PLAIN_SIZE]
        made += sodium.crypto_secretstream_xchacha20poly1305_push(state, frame, None, tag)
    return bytes(made)


@cache
def dare_streams() -> list[bytes]:
    """Streams of PACKAGES and of parts of it, of both ciphers and versions."""
    made = []
    for cipher in (0, 1):
        for size in (1, 1000, dare.PAYLOAD_SIZE, len(PACKAGES)):
            encryptor = dare.Encryptor(KEY, cipher=cipher)
            made.append(bytes(encryptor.update(PACKAGES[:size])) + bytes(encryptor.finish()))
        made += [dare10_stream(cipher, size) for size in (1000, len(PACKAGES))]
    return made


def dare10_stream(cipher: int, size: int) -> bytes:
    """A stream of version 1.0."""
    made, aead = b"", dare.AEADS[cipher](KEY)
    for number, start in enumerate(range(0, size, dare.PAYLOAD_SIZE)):
        payload = PACKAGES[start : min(start + dare.PAYLOAD_SIZE, size)]
        nonce = number.to_bytes(4, "little") + bytes(range(8))
        head = bytes((dare.VERSION_10, cipher)) + (len(payload) - 1).to_bytes(2, "little")
        sealed_size = len(payload) + dare.TAG_SIZE
        out = memoryview(bytearray(sealed_size))
        aead.encrypt_into(nonce, payload, head, out)
        made += head + nonce + bytes(out)
    return made


@cache
def wrapped_keys() -> tuple[bytes, ...]:
    """Wrapped forms of KEY and of another key."""
    return wrap(KEY), wrap(bytes(32))


@cache
def aws_objects() -> list[bytes]:
    """A wrapped key without a frame, then a stream."""
    return [wrapped_keys()[0] + stream for stream in dare_streams()]


@cache
def yandex_objects() -> list[bytes]:
    """A header, then a stream."""
    return [SizedHeader().pack(wrapped_keys()[0]) + stream for stream in dare_streams()]


@cache
def envelope_objects() -> list[bytes]:
    """A header that names the golden key, then a message."""
    head = encode_header("8C3F", wrapped_keys()[0])
    return [head + message for message in openpgp()]


def unwrapped(wrapped: bytes) -> bytes:
    """The data key, as the key service gives it. Raises DataCorrupt."""
    return unwrap(wrapped)


@cache
def heads() -> list[bytes]:
    """The beginnings of objects of every kind, plain ones too."""
    archives = Path(GOLDEN.parent / "archives")
    plain = [path.read_bytes()[:512] for path in sorted(archives.glob("*/archive/wal_005/*1D.*"))]
    encrypted = [*openpgp(), *sodium_streams(), *aws_objects()[:2], *yandex_objects()[:2], *envelope_objects()[:3]]
    return [*plain, *(data[:8192] for data in encrypted)]
