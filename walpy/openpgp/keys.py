"""Public keys: their packet, fingerprint and id (RFC 9580, section 5.5)."""

import hashlib
from typing import NamedTuple

from walpy.openpgp.algorithms import (
    CURVES,
    DSA,
    ECDH,
    ECDSA,
    ED448,
    ED25519,
    EDDSA_LEGACY,
    ELGAMAL,
    ENCRYPTING,
    RSA,
    RSA_ENCRYPT,
    RSA_SIGN,
    X448,
    X25519,
    Curve,
    public_key_name,
)
from walpy.openpgp.fields import Fields

NUMBER_COUNTS = {RSA: 2, RSA_ENCRYPT: 2, RSA_SIGN: 2, ELGAMAL: 3, DSA: 4}
NATIVE_SIZES = {X25519: 32, X448: 56, ED25519: 32, ED448: 57}  # bytes of a public key


class Kdf(NamedTuple):
    """How an ECDH key derives the key that wraps a session key: numbers of hash and cipher."""

    hash: int
    cipher: int


class PublicKey(NamedTuple):
    """A primary key or subkey.

    numbers: integers of RSA (n, e), DSA (p, q, g, y) and ElGamal (p, g, y). point: public point of an elliptic curve,
    as in the packet. body: the packet's, public part alone. created: seconds since the epoch.
    """

    version: int
    created: int
    algorithm: int
    numbers: tuple[int, ...]
    point: bytes
    curve: Curve | None
    oid: bytes
    kdf: Kdf | None
    body: bytes

    @property
    def fingerprint(self) -> bytes:
        """20 bytes of version 4, 32 of version 6."""
        if self.version == 6:
            return hashlib.sha256(self.hashed()).digest()
        return hashlib.sha1(self.hashed(), usedforsecurity=False).digest()

    @property
    def key_id(self) -> bytes:
        """8 bytes."""
        fingerprint = self.fingerprint
        return fingerprint[:8] if self.version == 6 else fingerprint[-8:]

    @property
    def name(self) -> str:
        """The key id for people: 16 upper-case hex digits."""
        return key_name(self.key_id)

    @property
    def can_encrypt(self) -> bool:
        """Whether its algorithm encrypts, on a curve that is known."""
        return self.algorithm in ENCRYPTING and (self.algorithm != ECDH or (self.curve, self.kdf) != (None, None))

    def hashed(self) -> bytes:
        """What fingerprints and signatures hash of the key. Source: RFC 9580, section 5.2.4."""
        if self.version == 6:
            return b"\x9b" + len(self.body).to_bytes(4) + self.body
        return b"\x99" + len(self.body).to_bytes(2) + self.body

    def __repr__(self) -> str:
        return f"PublicKey({self.name}, {public_key_name(self.algorithm)})"


def key_name(key_id: bytes) -> str:
    """A key id for people; that of an anonymous recipient is all zero."""
    return key_id.hex().upper() if any(key_id) else "anonymous"


def parse_public_key(body: bytes) -> tuple[PublicKey, bytes]:
    """The key of a public or secret key packet, and what follows it (its secret part).

    Raises ValueError for a truncated packet, for versions other than 4 and 6, and for a secret part behind an unknown
    algorithm, whose start cannot be told.
    """
    fields = Fields(body)
    version, created = fields.byte(), fields.number(4)
    if version not in (4, 6):
        raise ValueError(f"keys of version {version} are not supported")
    algorithm = fields.byte()
    end = fields.number(4) + fields.position if version == 6 else 0
    numbers, point, oid, kdf = _material(fields, algorithm, end)
    if end and fields.position != end:
        raise ValueError("the key material has another length than the packet says")
    public = body[: fields.position]
    key = PublicKey(version, created, algorithm, numbers, point, CURVES.get(oid), oid, kdf, public)
    return key, body[fields.position :]


def _material(fields: Fields, algorithm: int, end: int) -> tuple[tuple[int, ...], bytes, bytes, Kdf | None]:
    if count := NUMBER_COUNTS.get(algorithm):
        return tuple(int.from_bytes(fields.mpi()) for _ in range(count)), b"", b"", None
    if size := NATIVE_SIZES.get(algorithm):
        return (), fields.take(size), b"", None
    if algorithm not in (ECDH, ECDSA, EDDSA_LEGACY):
        fields.take(end - fields.position) if end else fields.rest()
        return (), b"", b"", None
    oid, point = fields.counted(), fields.mpi()
    return (), point, oid, _kdf(fields.counted()) if algorithm == ECDH else None


def _kdf(data: bytes) -> Kdf | None:
    return Kdf(data[1], data[2]) if len(data) == 3 and data[0] == 1 else None
