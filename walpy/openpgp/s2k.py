"""Keys from pass phrases: string-to-key specifiers (RFC 9580, section 3.7)."""

import hashlib
from typing import NamedTuple

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from walpy.openpgp.fields import Fields

SIMPLE, SALTED, ITERATED, ARGON2, GNU = 0, 1, 3, 4, 101
GNU_DUMMY = 1  # of GNU: the secret key is not there; 2: it is on a smart card
HASHES = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224", 12: "sha3_256", 14: "sha3_512"}
MOST_ARGON2_MEMORY = 21  # exponent of KiB: 2 GiB, as RFC 9580 recommends at most
MOST_ARGON2_WORK = 8 << 20  # KiB of all passes: four over 2 GiB, some ten seconds; a damaged number may ask for an hour
BLOCK_SIZE = 64 << 10  # bytes hashed at once


class S2k(NamedTuple):
    """A specifier. octets: how many to hash. argon2: passes, lanes, and the exponent of the KiB of memory."""

    kind: int
    hash: int = 0
    salt: bytes = b""
    octets: int = 0
    argon2: tuple[int, int, int] = (0, 0, 0)

    @property
    def is_absent(self) -> bool:
        """Whether it says that there is no secret key (gpg's export of subkeys alone, smart cards)."""
        return self.kind == GNU

    def derive(self, passphrase: bytes, size: int) -> bytes:
        """A key of size bytes. Raises ValueError for a specifier that is not supported."""
        if self.kind == ARGON2:
            return self._argon2(passphrase, size)
        if self.kind not in (SIMPLE, SALTED, ITERATED) or self.hash not in HASHES:
            raise ValueError(f"string-to-key type {self.kind} with hash {self.hash} is not supported")
        data = self.salt + passphrase
        count = max(self.octets, len(data))
        key = b""
        zeros = 0
        while len(key) < size:
            key += _hash_repeated(HASHES[self.hash], bytes(zeros), data, count)
            zeros += 1
        return key[:size]

    def _argon2(self, passphrase: bytes, size: int) -> bytes:
        passes, lanes, memory = self.argon2
        if memory > MOST_ARGON2_MEMORY:
            raise ValueError("the key's pass phrase needs more than 2 GiB of memory")
        if passes << memory > MOST_ARGON2_WORK:
            raise ValueError(f"the key's pass phrase needs {passes} passes over {1 << memory} KiB of memory")
        kdf = Argon2id(salt=self.salt, length=size, iterations=passes, lanes=lanes, memory_cost=1 << memory)
        return kdf.derive(passphrase)


def _hash_repeated(name: str, start: bytes, data: bytes, count: int) -> bytes:
    digest = hashlib.new(name, start, usedforsecurity=False)
    block = data * (BLOCK_SIZE // len(data) + 1) if data else b""
    whole, rest = divmod(count, len(block)) if block else (0, 0)
    for _ in range(whole):
        digest.update(block)
    digest.update(block[:rest])
    return digest.digest()


def parse_s2k(fields: Fields) -> S2k:
    """Take a specifier. Raises ValueError for a truncated or unknown one."""
    kind = fields.byte()
    if kind == ARGON2:
        return S2k(kind, salt=fields.take(16), argon2=(fields.byte(), fields.byte(), fields.byte()))
    if kind not in (SIMPLE, SALTED, ITERATED, GNU):
        raise ValueError(f"string-to-key type {kind} is not supported")
    found = S2k(kind, fields.byte())
    if kind == GNU:
        if fields.take(3) != b"GNU":
            raise ValueError("an unknown private string-to-key type")
        extension = fields.byte()
        if extension != GNU_DUMMY:
            fields.counted()  # serial number of the card
        return found
    if kind in (SALTED, ITERATED):
        found = found._replace(salt=fields.take(8))
    if kind == ITERATED:
        coded = fields.byte()
        found = found._replace(octets=(16 + (coded & 15)) << ((coded >> 4) + 6))
    return found
