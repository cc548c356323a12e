"""What is fuzzed, and what must hold for every input, whatever it is.

A reader raises nothing but walpy's own errors; what it takes for complete is one of the plain contents that its keys
have ever encrypted; where every piece is authentic by itself, what it gives before an error is the beginning of one of
them; and how the input is cut into chunks changes neither content nor verdict.
"""

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple, Protocol

from tests.fixtures.ciphers import KEY, LocalKeys
from tests.fuzz import seeds
from tests.fuzz.mutate import Mutation, cutter, framewise, mutate_bytes, mutate_packets
from tests.unit.openpgp.material import golden_cipher, vector
from walpy.errors import WalpyError
from walpy.openpgp.armor import dearmor
from walpy.openpgp.certificates import read_certificates
from walpy.openpgp.cipher import OpenPgpCipher
from walpy.openpgp.contents import Contents
from walpy.openpgp.decryptor import Decryptor
from walpy.openpgp.describe import describe
from walpy.openpgp.envelope import EnvelopeCipher
from walpy.openpgp.secret_keys import PrivateKey
from walpy.stream import dare
from walpy.stream.aws_kms import AWS_BLOB_SIZE, FixedHeader
from walpy.stream.identify import advice, identify
from walpy.stream.kms import KmsCipher
from walpy.stream.sodium import HEADER_SIZE, SEALED_SIZE, SodiumCipher
from walpy.stream.yandex_kms import SizedHeader

LARGEST_TEXT = 128 << 10  # characters of a description
CUTS = (1, 7, 100, 999, 8209, 65_568)  # bytes of a chunk


class Target(NamedTuple):
    """seeds: inputs to begin with. mutate: changes one. check: runs one; gives the error that it ended with, None when
    it was taken for complete. Raises AssertionError, or whatever a reader must not raise."""

    name: str
    seeds: Callable[[], list[bytes]]
    mutate: Mutation
    check: Callable[[bytes], WalpyError | None]


class Reader(Protocol):
    """A decryptor."""

    def update(self, chunk: bytes) -> bytes | memoryview: ...

    def finish(self) -> bytes | memoryview: ...


def read(reader: Reader, chunks: Sequence[bytes]) -> tuple[bytes, WalpyError | None]:
    """What a reader gives, and the error that it ends with. Several chunks are read in pieces, as restores do."""
    given = bytearray()
    pieces = getattr(reader, "pieces", None) if len(chunks) > 1 else None
    try:
        for chunk in chunks:
            for piece in pieces(chunk) if pieces else (reader.update(chunk),):
                given += piece
        given += reader.finish()
    except WalpyError as error:
        return bytes(given), error
    return bytes(given), None


def chunked(data: bytes) -> Iterator[list[bytes]]:
    """The input whole, and cut in a way that depends on nothing else; of long inputs only every second one."""
    yield [data]
    chance = random.Random(zlib.crc32(data))
    if 1 < len(data) < 5000 or (len(data) > 1 and chance.random() < 0.5):
        size = chance.choice([size for size in CUTS if len(data) // 2000 < size < len(data)])
        yield [data[start : start + size] for start in range(0, len(data), size)]


def check_reader(
    data: bytes, make: Callable[[], Reader], known: Sequence[bytes] | None, *, is_authentic: bool
) -> WalpyError | None:
    """known: all that may come out; None: anything. is_authentic: no piece is given before it is authentic."""
    results = [read(make(), chunks) for chunks in chunked(data)]
    for given, error in results:
        assert known is None or error or given in known, "other bytes were taken for complete"
        if is_authentic and known is not None:
            assert any(content.startswith(given) for content in known), "bytes were given that are not authentic"
    accepted = {(error is None, given if error is None else b"") for given, error in results}
    assert len(accepted) == 1, f"the verdict depends on how the input is cut: {[error for _, error in results]}"
    return results[0][1]


@cache
def _pgp_keys() -> list[PrivateKey]:
    return [*golden_cipher("cv25519").private_keys(), *OpenPgpCipher.from_key(vector("v6_secret_key")).private_keys()]


def check_openpgp(data: bytes) -> WalpyError | None:
    known = (*seeds.PLAINS, *seeds.SAMPLES, seeds.golden_openpgp())
    describe(data)
    return check_reader(data, lambda: Decryptor(_pgp_keys()), known, is_authentic=False)


class _Inside:
    """Reads what is inside the encryption as the decryptor does."""

    def __init__(self) -> None:
        self._contents = Contents()

    def update(self, chunk: bytes) -> bytes:
        return b"".join(self._contents.feed(chunk)) if chunk else b""

    def finish(self) -> bytes:
        return b"".join(self._contents.close())


def check_inside(data: bytes) -> WalpyError | None:
    """Any content may be inside, since whoever knows the session key may write it: it must not confuse the reader."""
    return check_reader(data, _Inside, None, is_authentic=False)


def _is_costly(data: bytes) -> bool:
    """Whether a key's Argon2 takes more than the fuzzer grants; it may take 2 GiB."""
    try:
        locks = [key.lock.s2k.argon2 for item in read_certificates(dearmor(data)) for key in item.secret_keys]
    except (ValueError, WalpyError):
        return False
    return any(passes << memory > 1 << 16 or memory > 14 for passes, _, memory in locks)


def check_keys(data: bytes) -> WalpyError | None:
    """A key ring, which belongs to the configuration: it encrypts, or is refused."""
    found: WalpyError | None = None
    for passphrase in ("",) if _is_costly(data) else ("", "wrong"):
        cipher = OpenPgpCipher.from_key(data, passphrase=passphrase)
        for use in (cipher.encryptor, cipher.decryptor):
            try:
                use()
            except WalpyError as error:
                found = error
    return found


def check_sodium(data: bytes) -> WalpyError | None:
    known = [seeds.FRAMES[:size] for size in (0, 1, 8192, 16_384, len(seeds.FRAMES))]
    return check_reader(data, SodiumCipher(KEY).decryptor, known, is_authentic=True)


def _packages() -> list[bytes]:
    """What may come out; a stream of version 1.0 may lack packages at its end, which its format cannot tell."""
    sizes = (1, 1000, dare.PAYLOAD_SIZE, 2 * dare.PAYLOAD_SIZE, len(seeds.PACKAGES))
    return [seeds.PACKAGES[:size] for size in sizes]


def check_dare(data: bytes) -> WalpyError | None:
    return check_reader(data, lambda: dare.Decryptor(KEY), _packages(), is_authentic=True)


def check_aws(data: bytes) -> WalpyError | None:
    make = KmsCipher("AWS KMS", LocalKeys(), FixedHeader()).decryptor
    return check_reader(data, make, _packages(), is_authentic=True)


def check_yandex(data: bytes) -> WalpyError | None:
    make = KmsCipher("Yandex KMS", LocalKeys(), SizedHeader()).decryptor
    return check_reader(data, make, _packages(), is_authentic=True)


@cache
def _envelope() -> EnvelopeCipher:
    golden = (seeds.GOLDEN / "cv25519" / "key.asc").read_bytes()

    def unwrap(wrapped: bytes) -> bytes:
        return golden if seeds.unwrapped(wrapped) == KEY else wrapped[:32]

    return EnvelopeCipher(seeds.wrapped_keys()[0], unwrap)


def check_envelope(data: bytes) -> WalpyError | None:
    known = (*seeds.PLAINS, seeds.golden_openpgp())
    return check_reader(data, _envelope().decryptor, known, is_authentic=False)


def check_identify(data: bytes) -> WalpyError | None:
    found = identify(data[:8192])
    assert 0 < len(found.text) < LARGEST_TEXT, "no description, or an endless one"
    described = describe(data)
    assert described is None or len(str(described)) < LARGEST_TEXT
    for cipher in (None, SodiumCipher(KEY), golden_cipher("cv25519"), _envelope()):
        advice(data[:8192], cipher)
    return None


PACKAGES = cutter(0, dare.PACKAGE_SIZE)
TARGETS = {
    target.name: target
    for target in (
        Target("openpgp", seeds.openpgp, mutate_packets, check_openpgp),
        Target("openpgp-contents", seeds.contents, mutate_packets, check_inside),
        Target("openpgp-keys", seeds.keys, mutate_packets, check_keys),
        Target("envelope", seeds.envelope_objects, framewise(cutter(16, 188)), check_envelope),
        Target("sodium", seeds.sodium_streams, framewise(cutter(HEADER_SIZE, SEALED_SIZE)), check_sodium),
        Target("dare", seeds.dare_streams, framewise(PACKAGES), check_dare),
        Target("aws-kms", seeds.aws_objects, framewise(cutter(AWS_BLOB_SIZE, dare.PACKAGE_SIZE)), check_aws),
        Target("yandex-kms", seeds.yandex_objects, framewise(cutter(194, dare.PACKAGE_SIZE)), check_yandex),
        Target("identify", seeds.heads, mutate_bytes, check_identify),
    )
}
GROUPS = {
    "openpgp-all": [name for name in TARGETS if name.startswith("openpgp")],
    "rest": [name for name in TARGETS if not name.startswith("openpgp")],
    "all": list(TARGETS),
}
