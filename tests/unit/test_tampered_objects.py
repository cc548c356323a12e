"""Objects that somebody changed, cut or put together anew: by every cipher an error that names the object, and no file.

What a cipher itself notices is tested beside it: unit/stream/test_ciphers.py, unit/openpgp/test_tampering.py.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.ciphers import CIPHERS, opened, sealed
from tests.unit.openpgp.material import GOLDEN, golden_cipher
from tests.unit.openpgp.test_tampering import mutated
from tests.unit.wal.synthetic import FIRST, DataDirectory, archive_in, segment
from walpy.errors import DataCorrupt
from walpy.openpgp.envelope import EnvelopeCipher, parse_header
from walpy.stream.cipher import Cipher
from walpy.wal.fetch import download_wal

OBJECT = f"wal_005/{FIRST}.lz4"
MUTATIONS = 200
HEAD = 600  # bytes: headers, wrapped keys, session keys, the first lengths
WRAPPED = b"what the key service made of the key"


def unwrap(ciphertext: bytes) -> bytes:
    if ciphertext != WRAPPED:
        raise DataCorrupt("the key service does not know it")
    return (GOLDEN / "cv25519" / "key.asc").read_bytes()


def envelope() -> Cipher:
    return EnvelopeCipher(WRAPPED, unwrap)


ALL: dict[str, Callable[[], Cipher]] = {
    **CIPHERS,
    "OpenPGP": lambda: golden_cipher("cv25519"),
    "envelope OpenPGP": envelope,
}


@pytest.mark.parametrize("name", ALL)
def test_wal_fetch_names_the_object_and_leaves_no_file(name: str, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive")
    archive.__dict__["cipher"] = ALL[name]()
    archive.put_wal(FIRST, [segment(FIRST)])
    path, data = tmp_path / "archive" / OBJECT, DataDirectory(tmp_path / "data")
    stored, chance = path.read_bytes(), random.Random(name)
    destination, before = data.wal / "RECOVERYXLOG", sorted(os.listdir(data.wal))
    for number in range(MUTATIONS):
        changed = mutated(stored[:HEAD], chance) + stored[HEAD:] if number % 2 else mutated(stored, chance)
        if changed == stored or is_only_for_people(name, stored, changed):
            continue
        path.write_bytes(changed)
        with pytest.raises(DataCorrupt, match=f"object '{OBJECT}' "):
            download_wal(archive, FIRST, str(destination))
        assert sorted(os.listdir(data.wal)) == before
    path.write_bytes(stored)
    download_wal(archive, FIRST, str(destination))
    assert destination.read_bytes() == segment(FIRST)


@pytest.mark.parametrize("name", ALL)
def test_an_object_of_another_name_is_not_taken_for_a_segment(name: str, tmp_path: Path) -> None:
    """Objects are not bound to their names; what they hold is."""
    archive, other = archive_in(tmp_path / "archive"), "000000010000000000000002"
    archive.__dict__["cipher"] = ALL[name]()
    archive.put_wal(other, [segment(other)])
    (tmp_path / "archive" / f"wal_005/{other}.lz4").rename(tmp_path / "archive" / OBJECT)
    data = DataDirectory(tmp_path / "data")
    with pytest.raises(DataCorrupt, match=FIRST):
        download_wal(archive, FIRST, str(data.wal / "RECOVERYXLOG"))
    assert not (data.wal / "RECOVERYXLOG").exists()


def is_only_for_people(name: str, stored: bytes, changed: bytes) -> bool:
    """Whether nothing was changed but the key ids in an envelope's header, which no reader looks at."""
    if name != "envelope OpenPGP":
        return False
    header = parse_header(stored)
    assert header is not None
    start, end = 20, 20 + len(header.key_ids)
    return len(changed) == len(stored) and changed[:start] + changed[end:] == stored[:start] + stored[end:]


def test_every_flipped_bit_of_an_envelope_is_noticed() -> None:
    cipher, plain = envelope(), b"archived"
    stored = sealed(cipher, plain)
    for bit in range(len(stored) * 8):
        changed = bytearray(stored)
        changed[bit // 8] ^= 1 << bit % 8
        if is_only_for_people(cipher.name, stored, bytes(changed)):
            assert opened(cipher, changed) == plain
        else:
            with pytest.raises(DataCorrupt):
                opened(cipher, changed)


@pytest.mark.slow
def test_ten_thousand_mutations_of_an_envelope_are_noticed() -> None:
    cipher, chance = envelope(), random.Random(3)
    plain, harmless = chance.randbytes(60_000), 0
    stored = sealed(cipher, plain)
    for number in range(10_000):
        changed = mutated(stored[:HEAD], chance) + stored[HEAD:] if number % 2 else mutated(stored, chance)
        if changed == stored or is_only_for_people(cipher.name, stored, changed):
            continue
        try:
            # A further session key's packet, which opens nothing, before the one that does: RFC 9580 has them skipped.
            assert opened(cipher, changed) == plain
            harmless += 1
        except DataCorrupt:
            continue
    assert harmless < 5
