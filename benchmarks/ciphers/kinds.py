"""The ciphers that are measured, and their floors: what the primitives that a format demands take by themselves.

A floor does no more than call the library over buffers that are used again: CFB and SHA-1 for OpenPGP, the frames of
libsodium's secretstream, AEAD packages for DARE. No reader or writer of the format can be quicker on one core.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from walpy.openpgp.algorithms import AES128, AES256, CIPHERS
from walpy.openpgp.cipher import OpenPgpCipher
from walpy.stream import dare, sodium
from walpy.stream.cipher import Cipher, Decryptor
from walpy.stream.transform import Transform

KEYS = Path(__file__).resolve().parent / "keys"  # throw-away ones, whose preferences choose AES-128 and AES-256
KEY = bytes(range(32))
CFB_SIZE = 64 << 10  # bytes at once: they are in the processor's cache for the digest too

Action = Callable[[], None]
Floor = Callable[[Sequence[bytes]], Action]  # prepares the work over plain chunks, which is then timed


@dataclass(frozen=True, slots=True)
class Kind:
    """One cipher. seal, open: its floors, over chunks of 1 MiB. primitive: the encryption alone, without what
    authenticates; None where both are one."""

    name: str
    cipher: Cipher
    seal: Floor
    open: Floor
    floor_name: str
    primitive: tuple[Floor, Floor] | None = None


class DareCipher:
    """The stream of AWS KMS, Yandex KMS without their header and requests."""

    name = "DARE"

    def __init__(self, number: int) -> None:
        self._number = number

    def encryptor(self) -> Transform:
        """Of one key for all: nothing is stored."""
        return dare.Encryptor(KEY, cipher=self._number)

    def check_encryption(self) -> None:
        """Nothing can be wrong."""

    def can_decrypt(self) -> bool:
        """Its key is here."""
        return True

    def decryptor(self) -> Decryptor:
        """Of the same."""
        return dare.Decryptor(KEY)


def kinds() -> list[Kind]:
    """All of them."""
    return [
        openpgp("OpenPGP, AES-128", "aes128.asc", AES128),
        openpgp("OpenPGP, AES-256", "aes256.asc", AES256),
        Kind("libsodium", sodium.SodiumCipher(KEY), push_frames, pull_frames, "secretstream, 8 KiB"),
        package_kind("DARE, AES-256-GCM", 0, "AES-256-GCM, 64 KiB"),
        package_kind("DARE, ChaCha20-Poly1305", 1, "ChaCha20-Poly1305, 64 KiB"),
    ]


def openpgp(name: str, key: str, number: int) -> Kind:
    """OpenPGP with one block cipher."""
    cipher = OpenPgpCipher.from_key((KEYS / key).read_bytes())
    floors = [cfb_floor(number, is_hashed, is_opened) for is_hashed in (True, False) for is_opened in (False, True)]
    floor_name = f"{CIPHERS[number].name}-CFB and SHA-1"
    return Kind(name, cipher, floors[0], floors[1], floor_name, (floors[2], floors[3]))


def cfb_floor(number: int, is_hashed: bool, is_opened: bool) -> Floor:
    """CFB over the chunks, whether or not anybody encrypted them."""
    return lambda chunks: partial(cfb, number, is_hashed, is_opened, chunks)


def cfb(number: int, is_hashed: bool, is_opened: bool, chunks: Sequence[bytes]) -> None:
    """CFB, and the digest of the plain side."""
    algorithm = CIPHERS[number]
    context = algorithm.cfb(KEY[: algorithm.key_size])
    worker = context.decryptor() if is_opened else context.encryptor()
    digest = hashlib.sha1(usedforsecurity=False)
    out = memoryview(bytearray(CFB_SIZE + algorithm.block_size))
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), CFB_SIZE):
            part = view[start : start + CFB_SIZE]
            if is_hashed and not is_opened:
                digest.update(part)
            size = worker.update_into(part, out)
            if is_hashed and is_opened:
                digest.update(out[:size])


_ffi: Any = import_module("nacl._sodium").ffi
_lib: Any = import_module("nacl._sodium").lib


def push_frames(chunks: Sequence[bytes]) -> Action:
    """secretstream_push over frames."""
    state, head = _ffi.new("unsigned char[]", sodium.STATE_SIZE), _ffi.new("unsigned char[]", sodium.HEADER_SIZE)
    _lib.crypto_secretstream_xchacha20poly1305_init_push(state, head, KEY)
    out = _ffi.new("unsigned char[]", len(chunks[0]) // sodium.PLAIN_SIZE * sodium.SEALED_SIZE)
    push = _lib.crypto_secretstream_xchacha20poly1305_push

    def work() -> None:
        for chunk in chunks:
            source = _ffi.from_buffer(chunk)
            for index in range(len(chunk) // sodium.PLAIN_SIZE):
                target, frame = out + index * sodium.SEALED_SIZE, source + index * sodium.PLAIN_SIZE
                push(state, target, _ffi.NULL, frame, sodium.PLAIN_SIZE, _ffi.NULL, 0, 0)

    return work


def pull_frames(chunks: Sequence[bytes]) -> Action:
    """secretstream_pull over frames, each chunk a stream of its own."""
    stored = [bytes(sodium.SodiumCipher(KEY).encryptor().update(chunk)) for chunk in chunks]
    state, tag = _ffi.new("unsigned char[]", sodium.STATE_SIZE), _ffi.new("unsigned char *")
    out = _ffi.new("unsigned char[]", len(chunks[0]))
    pull = _lib.crypto_secretstream_xchacha20poly1305_pull

    def work() -> None:
        for sealed in stored:
            _lib.crypto_secretstream_xchacha20poly1305_init_pull(state, sealed[: sodium.HEADER_SIZE], KEY)
            source = _ffi.from_buffer(sealed) + sodium.HEADER_SIZE
            for index in range(len(sealed) // sodium.SEALED_SIZE):
                target, frame = out + index * sodium.PLAIN_SIZE, source + index * sodium.SEALED_SIZE
                assert not pull(state, target, _ffi.NULL, tag, frame, sodium.SEALED_SIZE, _ffi.NULL, 0)

    return work


def package_kind(name: str, number: int, floor_name: str) -> Kind:
    """DARE with one algorithm."""
    return Kind(name, DareCipher(number), partial(seal_packages, number), partial(open_packages, number), floor_name)


def seal_packages(number: int, chunks: Sequence[bytes]) -> Action:
    """AEAD encryption of packages."""
    aead, nonce = dare.AEADS[number](KEY), os.urandom(12)
    payloads, out = payloads_of(chunks), memoryview(bytearray(dare.PAYLOAD_SIZE + dare.TAG_SIZE))

    def work() -> None:
        for payload in payloads:
            aead.encrypt_into(nonce, payload, nonce[:4], out)

    return work


def open_packages(number: int, chunks: Sequence[bytes]) -> Action:
    """AEAD decryption of packages."""
    aead, nonce = dare.AEADS[number](KEY), os.urandom(12)
    packages = [aead_seal(aead, nonce, payload) for payload in payloads_of(chunks)]
    out = memoryview(bytearray(dare.PAYLOAD_SIZE))

    def work() -> None:
        for package in packages:
            aead.decrypt_into(nonce, package, nonce[:4], out)

    return work


def payloads_of(chunks: Sequence[bytes]) -> list[memoryview]:
    """Plain packages."""
    starts = range(0, len(chunks[0]), dare.PAYLOAD_SIZE)
    return [memoryview(chunk)[start : start + dare.PAYLOAD_SIZE] for chunk in chunks for start in starts]


def aead_seal(aead: dare.Aead, nonce: bytes, payload: memoryview) -> bytes:
    """One sealed package."""
    out = memoryview(bytearray(len(payload) + dare.TAG_SIZE))
    aead.encrypt_into(nonce, payload, nonce[:4], out)
    return bytes(out)
