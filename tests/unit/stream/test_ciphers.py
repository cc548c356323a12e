"""What holds for every cipher: it gives back what it took, and nothing that was changed."""

import random
from collections.abc import Iterable, Iterator

import pytest

from tests.fixtures.ciphers import CIPHERS, KEY, LocalKeys, opened, sealed
from walpy.config import Config
from walpy.errors import ConfigError, DataCorrupt, WalpyError
from walpy.settings import ENCRYPTION_KEYS
from walpy.storage.base import Chunk
from walpy.stream.aws_kms import FixedHeader
from walpy.stream.cipher import Cipher
from walpy.stream.ciphers import DOORS, open_cipher
from walpy.stream.dare import PACKAGE_SIZE, PAYLOAD_SIZE
from walpy.stream.frames import Frames
from walpy.stream.kms import MOST_KEYS, KmsCipher
from walpy.stream.sodium import PLAIN_SIZE, SEALED_SIZE, SodiumCipher
from walpy.stream.transform import pump

SIZES = [
    *(1, 2, 15, 16, 17, PLAIN_SIZE - 1, PLAIN_SIZE, PLAIN_SIZE + 1, 2 * PLAIN_SIZE),
    *(PAYLOAD_SIZE - 1, PAYLOAD_SIZE, PAYLOAD_SIZE + 1, 2 * PAYLOAD_SIZE, 1 << 24),
]
MUTATIONS = 10_000


@pytest.fixture(params=CIPHERS)
def cipher(request: pytest.FixtureRequest) -> Cipher:
    return CIPHERS[request.param]()


@pytest.mark.parametrize("size", SIZES)
def test_round_trip(cipher: Cipher, size: int) -> None:
    plain = random.Random(size).randbytes(size)
    stored = sealed(cipher, plain)
    assert plain[:64] not in stored or size < 8
    assert opened(cipher, stored) == plain
    chunks = [stored[start : start + 100_003] for start in range(0, len(stored), 100_003)]
    assert opened(cipher, *map(memoryview, chunks)) == plain


def test_the_same_bytes_are_never_stored_twice(cipher: Cipher) -> None:
    assert sealed(cipher, b"data") != sealed(cipher, b"data")


def test_every_flipped_bit_is_noticed(cipher: Cipher) -> None:
    stored = sealed(cipher, bytes(100))
    for position in range(len(stored)):
        for bit in range(8):
            changed = bytearray(stored)
            changed[position] ^= 1 << bit
            with pytest.raises(DataCorrupt):
                opened(cipher, changed)


def test_every_truncation_is_noticed(cipher: Cipher) -> None:
    stored = sealed(cipher, bytes(100))
    for size in range(len(stored)):
        with pytest.raises(DataCorrupt):
            opened(cipher, stored[:size])


@pytest.mark.parametrize("frame", [(PLAIN_SIZE, SEALED_SIZE), (PAYLOAD_SIZE, PACKAGE_SIZE)], ids=["sodium", "dare"])
def test_an_end_between_two_frames_is_noticed(cipher: Cipher, frame: tuple[int, int]) -> None:
    stored = sealed(cipher, bytes(3 * frame[0]))
    for count in (1, 2, 3):
        for head in (0, 24, 184, 10 + 184):
            cut = stored[: head + count * frame[1]]
            if len(cut) < len(stored):
                with pytest.raises(DataCorrupt):
                    opened(cipher, cut)


def mutations(stored: bytes, count: int) -> Iterator[bytes]:
    """Changed copies: bits, bytes, runs, cuts, insertions, repetitions and swaps, at places that are drawn."""
    draw = random.Random(len(stored))
    for number in range(count):
        start, end = sorted(draw.sample(range(len(stored) + 1), 2))
        piece = stored[start:end]
        middle = (start + end) // 2
        changed = bytearray(stored)
        match number % 7:
            case 0:
                changed[draw.randrange(len(stored))] ^= 1 << draw.randrange(8)
            case 1:
                changed[start:end] = draw.randbytes(end - start)
            case 2:
                del changed[start:end]
            case 3:
                changed[start:start] = piece
            case 4:
                changed[start:end] = stored[middle:end] + stored[start:middle]
            case 5:
                del changed[start:]
            case 6:
                changed[start:start] = draw.randbytes(draw.randrange(1, 100))
        if changed != stored:
            yield bytes(changed)


def test_ten_thousand_mutations_are_noticed(cipher: Cipher) -> None:
    plain = random.Random(7).randbytes(PAYLOAD_SIZE + 1000)
    count = 0
    for changed in mutations(sealed(cipher, plain), MUTATIONS):
        count += 1
        with pytest.raises(DataCorrupt):
            opened(cipher, changed)
    assert count > 0.99 * MUTATIONS


def test_swapped_repeated_and_missing_frames_are_noticed(cipher: Cipher) -> None:
    size = SEALED_SIZE if isinstance(cipher, SodiumCipher) else PACKAGE_SIZE
    plain_size = PLAIN_SIZE if isinstance(cipher, SodiumCipher) else PAYLOAD_SIZE
    stored = sealed(cipher, random.Random(1).randbytes(3 * plain_size + 10))
    head = len(head_of(cipher))
    first, second, third = (stored[head + number * size : head + (number + 1) * size] for number in range(3))
    begin, end = stored[:head], stored[head + 3 * size :]
    assert opened(cipher, begin, first, second, third, end)
    for frames in ((second, first, third), (first, first, second, third), (first, third), (first, second, third, end)):
        with pytest.raises(DataCorrupt):
            opened(cipher, begin, *frames, end)


def head_of(cipher: Cipher) -> bytes:
    """The header of an object, by the size that a byte takes in it."""
    added = 17 if isinstance(cipher, SodiumCipher) else 32
    return sealed(cipher, b"x")[: -1 - added]


def test_what_is_given_before_an_error_is_authentic(cipher: Cipher) -> None:
    """A consumer may write what it got, as long as it takes the error for the end of all hope."""
    plain = random.Random(3).randbytes(4 * PAYLOAD_SIZE)
    stored = bytearray(sealed(cipher, plain))
    stored[-40] ^= 1
    got = bytearray()
    pieces = (stored[start : start + 5000] for start in range(0, len(stored), 5000))
    with pytest.raises(DataCorrupt):
        got.extend(b"".join(gathered(pump(pieces, [cipher.decryptor()]), got)))
    assert 0 < len(got) < len(plain)
    assert plain.startswith(got)


def gathered(chunks: Iterable[Chunk], into: bytearray) -> Iterator[bytes]:
    for chunk in chunks:
        into.extend(chunk)
        yield b""


def test_another_key_opens_nothing() -> None:
    stored = sealed(SodiumCipher(KEY), b"data")
    with pytest.raises(DataCorrupt, match="first frame") as caught:
        opened(SodiumCipher(bytes(32)), stored)
    assert "another key" in caught.value.hint


# ---- key services


def test_every_object_has_a_key_of_its_own_and_an_unwrapped_one_is_kept() -> None:
    service = LocalKeys()
    cipher = KmsCipher("AWS KMS", service, FixedHeader())
    first, second = sealed(cipher, b"data"), sealed(cipher, b"data")
    assert first[:184] != second[:184]
    assert service.requests == 2
    assert opened(cipher, first) + opened(cipher, first) == b"datadata"
    assert service.requests == 3


def test_what_is_asked_for_at_the_start_serves_the_first_object() -> None:
    service = LocalKeys()
    cipher = KmsCipher("AWS KMS", service, FixedHeader())
    cipher.check_encryption()
    cipher.check_encryption()
    assert service.requests == 1
    first = sealed(cipher, b"data")
    assert service.requests == 1
    assert sealed(cipher, b"data")[:184] != first[:184]
    assert service.requests == 2


def test_the_kept_keys_are_bounded() -> None:
    cipher = KmsCipher("AWS KMS", LocalKeys(), FixedHeader())
    for _ in range(MOST_KEYS + 5):
        opened(cipher, sealed(cipher, b"data"))
    assert len(cipher._keys) == MOST_KEYS


def test_nothing_cannot_be_encrypted_with_a_data_key() -> None:
    with pytest.raises(WalpyError, match="an empty object cannot be encrypted"):
        sealed(CIPHERS["AWS KMS"]())


def test_a_wrapped_key_of_another_size_is_not_written() -> None:
    with pytest.raises(ConfigError, match="in 96 bytes, and the stored format holds exactly 184"):
        FixedHeader().pack(bytes(96))


# ---- which cipher


def test_the_doors_know_every_setting_that_asks_for_encryption() -> None:
    assert sorted(key for door in DOORS for key in door.settings) == sorted(ENCRYPTION_KEYS)


def test_no_setting_no_cipher() -> None:
    assert open_cipher(Config()) is None
    assert open_cipher(Config.from_mapping({"WALG_LIBSODIUM_KEY_TRANSFORM": "hex"})) is None


LIBSODIUM = {"WALG_LIBSODIUM_KEY": "a key of more than twenty-five bytes"}
YANDEX = {"YC_CSE_KMS_KEY_ID": "key"}
AWS = {"WALG_CSE_KMS_ID": "key", "AWS_REGION": "us-east-1"}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (LIBSODIUM, "libsodium"),
        (LIBSODIUM | YANDEX, "Yandex KMS"),
        (LIBSODIUM | YANDEX | AWS, "AWS KMS"),
    ],
)
def test_the_first_in_wal_g_s_order_is_taken(settings: dict[str, str], name: str) -> None:
    cipher = open_cipher(Config.from_mapping(settings))
    assert cipher is not None
    assert cipher.name == name


def test_two_kinds_of_openpgp_exclude_each_other() -> None:
    settings = LIBSODIUM | {"WALG_PGP_KEY_PATH": "a", "WALG_ENVELOPE_PGP_KEY": "b"}
    with pytest.raises(ConfigError, match="both WALG_PGP_KEY_PATH and WALG_ENVELOPE_PGP_KEY are set"):
        open_cipher(Config.from_mapping(settings))


# ---- frames


def test_frames_copy_only_what_a_chunk_leaves_over() -> None:
    frames = Frames(4)
    chunk = memoryview(b"abcdefghij")
    (run,) = frames.runs(chunk)
    assert run.obj is chunk.obj
    assert bytes(run) == b"abcdefgh"
    assert bytes(frames.rest()) == b"ij"


@pytest.mark.parametrize("holds_last", [False, True])
def test_frames_count_what_they_give(holds_last: bool) -> None:
    for first in range(14):
        for second in range(14):
            frames = Frames(4, holds_last=holds_last)
            given = b""
            for chunk in (bytes(first), bytes(second)):
                expected = frames.count(chunk)
                runs = [bytes(run) for run in frames.runs(chunk)]
                assert sum(map(len, runs)) == 4 * expected
                given += b"".join(runs)
            assert len(given) + len(frames.rest()) == first + second
            assert bool(frames.rest()) or not holds_last or first + second == 0
