"""Whatever is changed in a message is noticed: DataCorrupt, nothing complete before, no hang, no runaway memory."""

import hashlib
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.unit.openpgp.material import GOLDEN, decode, decrypt, encrypt, golden_cipher, in_chunks, vector
from walpy.errors import ConfigError, DataCorrupt
from walpy.openpgp.algorithms import AES128, CIPHERS
from walpy.openpgp.armor import dearmor
from walpy.openpgp.cipher import OpenPgpCipher
from walpy.openpgp.contents import Contents
from walpy.openpgp.packets import COMPRESSED, LITERAL, SEIPD, encode_packet
from walpy.openpgp.s2k import ARGON2, S2k
from walpy.openpgp.seipd import SeipdReader, SeipdWriter
from walpy.openpgp.stream import PacketStream, Sink

SMALL = b"archived"
KEY = bytes(range(16))


def objects() -> Iterator[tuple[str, OpenPgpCipher, bytes]]:
    for name in ("cv25519", "inline"):
        cipher = golden_cipher(name)
        yield name, cipher, encrypt(cipher, SMALL)
    yield "v6", OpenPgpCipher.from_key(vector("v6_secret_key")), vector("v6_pkesk_x25519_seipd2_ocb")


OBJECTS = list(objects())


@pytest.mark.parametrize(("cipher", "data"), [item[1:] for item in OBJECTS], ids=[item[0] for item in OBJECTS])
def test_every_flipped_bit_is_noticed(cipher: OpenPgpCipher, data: bytes) -> None:
    cipher.private_keys()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            decrypt(cipher, bytes(changed))
        except DataCorrupt:
            continue
        pytest.fail(f"bit {bit} was not noticed")


@pytest.mark.parametrize(("cipher", "data"), [item[1:] for item in OBJECTS], ids=[item[0] for item in OBJECTS])
def test_every_truncation_and_what_follows_is_noticed(cipher: OpenPgpCipher, data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(DataCorrupt):
            decrypt(cipher, data[:size], 50)
    for more in (b"\0", b"x", data, b"\xcb\x07b\0\0\0\0\0x"):
        with pytest.raises(DataCorrupt):
            decrypt(cipher, data + more)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Data with one of: a truncation, changed bytes, two pieces exchanged, a piece left out or twice."""
    start, middle, end = sorted(chance.sample(range(len(data)), 3))
    match chance.randrange(5):
        case 0:
            return data[:start]
        case 1:
            changed = bytearray(data)
            for _ in range(chance.randrange(1, 5)):
                changed[chance.randrange(len(data))] ^= chance.randrange(1, 256)
            return bytes(changed)
        case 2:
            return data[:start] + data[middle:end] + data[start:middle] + data[end:]
        case 3:
            return data[:start] + data[middle:]
        case _:
            return data[:middle] + data[start:]


@pytest.mark.slow
def test_ten_thousand_mutations_are_noticed() -> None:
    chance = random.Random(20)
    cipher = golden_cipher("cv25519")
    plain = chance.randbytes(180_000)
    data = encrypt(cipher, plain)
    tracemalloc.start()
    for _ in range(10_000):
        # Half of the changes in the first bytes, where session keys and lengths are.
        changed = mutated(data, chance) if chance.random() < 0.5 else mutated(data[:400], chance) + data[400:]
        if changed == data:
            continue
        decryptor, given = cipher.decryptor(), b""
        try:
            for chunk in in_chunks(changed, 1 << 16):
                given += decryptor.update(chunk)
            decryptor.finish()
        except DataCorrupt:
            assert given != plain
            continue
        pytest.fail("a changed message was taken for complete")
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_the_end_is_held_back_until_it_is_authentic() -> None:
    cipher = golden_cipher("cv25519")
    plain = bytes(200_000)
    data = encrypt(cipher, plain)
    decryptor = cipher.decryptor()
    given = b"".join(map(decryptor.update, in_chunks(data, 1000)))
    assert given == plain[: len(given)]
    assert 0 < len(given) < len(plain)
    assert given + decryptor.finish() == plain


def reader(content: Sink | None = None) -> PacketStream:
    def open_packet(tag: int) -> Sink:
        assert tag == SEIPD
        return _Versioned(SeipdReader(CIPHERS[AES128], KEY, content or Contents()))

    return PacketStream(open_packet)


class _Versioned:
    """Drops the version, one byte, before a SeipdReader."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self._begun = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        rest, self._begun = (data if self._begun else memoryview(data)[1:]), True
        return self._inner.feed(rest)

    def close(self) -> Iterator[bytes]:
        return self._inner.close()


def seipd_of(content: bytes) -> bytes:
    """An authentic packet with any content, also such as walpy does not write."""
    prefix = bytes(16) + bytes(2)
    plain = prefix + content + b"\xd3\x14"
    plain += hashlib.sha1(plain).digest()
    return encode_packet(SEIPD, b"\x01" + CIPHERS[AES128].cfb(KEY).encryptor().update(plain))


def content_of(data: bytes) -> bytes:
    stream = reader()
    return b"".join([*stream.feed(data), *stream.close()])


def literal(data: bytes) -> bytes:
    return encode_packet(LITERAL, b"u\0\0\0\0\0" + data)


def zipped(data: bytes) -> bytes:
    return encode_packet(COMPRESSED, b"\x02" + zlib.compress(data))


def test_contents_that_are_refused() -> None:
    assert content_of(seipd_of(zipped(literal(b"x")))) == b"x"
    deep = literal(b"x")
    for _ in range(9):
        deep = zipped(deep)
    for content in (
        b"",
        b"\xcb\x02u\0",
        literal(b"a") + literal(b"b"),
        literal(b"a")[:-1],
        deep,
        zipped(b""),
        zipped(literal(b"x"))[:-3],
        encode_packet(COMPRESSED, b""),
        encode_packet(COMPRESSED, b"\x09abc"),
        encode_packet(COMPRESSED, b"\x03abc"),
        seipd_of(literal(b"x")),
    ):
        with pytest.raises(DataCorrupt):
            content_of(seipd_of(content))


def test_a_bomb_comes_out_in_bounded_pieces() -> None:
    data = seipd_of(zipped(encode_packet(LITERAL, b"u\0\0\0\0\0" + bytes(64 << 20))))
    tracemalloc.start()
    stream = reader()
    total = sum(len(piece) for piece in stream.feed(data))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert total + sum(len(piece) for piece in stream.close()) == 64 << 20


@pytest.mark.parametrize("head", [b"\xd2\xff\xff\xff\xff\xff\x01", b"\xd2\xfe\x01"])
def test_claimed_lengths_cost_no_memory(head: bytes) -> None:
    """4 GiB, and a partial body of 1 GiB."""
    tracemalloc.start()
    stream = reader()
    list(stream.feed(head))
    for _ in range(40):
        with suppress(DataCorrupt):
            list(stream.feed(bytes(1 << 20)))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_partial_bodies_of_one_byte() -> None:
    writer = SeipdWriter(CIPHERS[AES128], KEY)
    data = writer.update(SMALL) + writer.finish()
    assert content_of(data) == SMALL
    body = data[2:]
    pieces = b"".join(b"\xe0" + bytes([octet]) for octet in body[:-1])
    assert content_of(b"\xd2" + pieces + b"\x01" + body[-1:]) == SMALL
    assert content_of(b"\xd2" + pieces + b"\xe0" + body[-1:] + b"\0") == SMALL


def test_a_chunk_of_bodies_of_one_byte_costs_little_memory() -> None:
    data = b"\xd2" + b"\xe0\x01" * (64 << 10)
    stream = reader()
    tracemalloc.start()
    with suppress(DataCorrupt):
        list(stream.feed(data))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_many_recipients_are_bounded() -> None:
    with pytest.raises(DataCorrupt, match="too many recipients"):
        decode(golden_cipher("cv25519").decryptor(), (b"\xc1\x0b\x03" + bytes(8) + b"\x01\0") * 2000)


@pytest.mark.parametrize("name", ["cv25519", "rsa4096"])
def test_damaged_keys_are_configuration_errors(name: str) -> None:
    chance = random.Random(5)
    key = dearmor((GOLDEN / name / "key.asc").read_bytes())
    for _ in range(300):
        changed = bytearray(key)
        changed[chance.randrange(len(key))] ^= 1 << chance.randrange(8)
        cipher = OpenPgpCipher.from_key(bytes(changed[: chance.choice((len(key), chance.randrange(len(key)) + 1))]))
        for use in (cipher.encryptor, cipher.decryptor):
            with suppress(ConfigError):
                use()


@pytest.mark.parametrize("argon2", [(255, 4, 21), (3, 4, 31), (64, 1, 18)])
def test_keys_that_would_take_forever_to_unlock(argon2: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="pass phrase needs"):
        S2k(ARGON2, salt=bytes(16), argon2=argon2).derive(b"open sesame", 16)
