"""Signatures over keys and user ids: their packet, and whether a key made them (RFC 9580, section 5.2)."""

from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from walpy.openpgp.algorithms import (
    DSA,
    ECDSA,
    ED448,
    ED25519,
    ED25519_LEGACY,
    EDDSA_LEGACY,
    HASHES,
    RSA,
    RSA_SIGN,
)
from walpy.openpgp.fields import Fields
from walpy.openpgp.keys import PublicKey

CERTIFICATIONS = frozenset({0x10, 0x11, 0x12, 0x13})
SUBKEY_BINDING, DIRECT_KEY = 0x18, 0x1F
KEY_REVOCATION, SUBKEY_REVOCATION, CERTIFICATION_REVOCATION = 0x20, 0x28, 0x30

CREATED, SIGNATURE_EXPIRES, KEY_EXPIRES, PREFERRED_CIPHERS, PRIMARY_USER_ID, KEY_FLAGS = 2, 3, 9, 11, 25, 27
KNOWN_SUBPACKETS = frozenset({*range(2, 13), 16, *range(21, 36), 39})
CRITICAL = 0x80
ENCRYPTS_COMMUNICATIONS = 0x04

SALT_SIZES = {8: 16, 9: 24, 10: 32, 11: 16, 12: 16, 14: 32}  # bytes of a version 6 signature's salt, by hash
DIGEST_START_SIZE = 2


class Signature(NamedTuple):
    """A signature packet. hashed: what it hashes of itself. subpackets: hashed ones by type, the last of each.

    values: the signature's own fields. understood: whether all its critical subpackets are known.
    """

    version: int
    kind: int
    algorithm: int
    hash: int
    hashed: bytes
    subpackets: dict[int, bytes]
    salt: bytes
    digest_start: bytes
    values: bytes
    understood: bool

    @property
    def created(self) -> int:
        """Seconds since the epoch."""
        return self.number(CREATED)

    def number(self, subpacket: int) -> int:
        """A subpacket's number, 0 when there is none."""
        return int.from_bytes(self.subpackets.get(subpacket, b""))

    def is_expired(self, now: int) -> bool:
        """Whether the signature holds no longer, or not yet."""
        lifetime = self.number(SIGNATURE_EXPIRES)
        return self.created > now or bool(lifetime and self.created + lifetime <= now)

    @property
    def may_encrypt(self) -> bool:
        """Whether it lets its key encrypt communications, which is what WAL-G asks for."""
        flags = self.subpackets.get(KEY_FLAGS, b"")
        return bool(flags) and bool(flags[0] & ENCRYPTS_COMMUNICATIONS)

    @property
    def preferred_ciphers(self) -> bytes:
        """Numbers of ciphers, most wanted first."""
        return self.subpackets.get(PREFERRED_CIPHERS, b"")


def parse_signature(body: bytes) -> Signature:
    """Parse a packet. Raises ValueError for one that is malformed or of another version than 4 and 6."""
    fields = Fields(body)
    version = fields.byte()
    if version not in (4, 6):
        raise ValueError(f"signatures of version {version} are not supported")
    count_size = 2 if version == 4 else 4
    kind, algorithm, hash_number = fields.byte(), fields.byte(), fields.byte()
    area = fields.counted(count_size)
    hashed = body[: fields.position]
    fields.counted(count_size)  # unhashed: anybody could have written it
    digest_start = fields.take(DIGEST_START_SIZE)
    salt = fields.counted() if version == 6 else b""
    if version == 6 and len(salt) != SALT_SIZES.get(hash_number):
        raise ValueError("a signature has a salt of the wrong size")
    subpackets, understood = _parse_subpackets(Fields(area), len(area))
    return Signature(
        version, kind, algorithm, hash_number, hashed, subpackets, salt, digest_start, fields.rest(), understood
    )


def _parse_subpackets(fields: Fields, size: int) -> tuple[dict[int, bytes], bool]:
    found: dict[int, bytes] = {}
    understood = True
    while fields.position < size:
        length = fields.byte()
        if length >= 192:
            length = fields.number(4) if length == 255 else (length - 192 << 8) + fields.byte() + 192
        data = fields.take(length)
        if not data:
            raise ValueError("a signature has an empty subpacket")
        kind = data[0] & ~CRITICAL
        understood = understood and (kind in KNOWN_SUBPACKETS or not data[0] & CRITICAL)
        found[kind] = data[1:]
    return found, understood


def is_made_by(signature: Signature, signer: PublicKey, *signed: bytes) -> bool:
    """Whether signer made the signature over the signed parts (see the functions below)."""
    make_hash = HASHES.get(signature.hash)
    if make_hash is None or not signature.understood or signature.algorithm != signer.algorithm:
        return False
    length = len(signature.hashed).to_bytes(4)
    digest = hashes.Hash(make_hash())
    for part in (signature.salt, *signed, signature.hashed, bytes([signature.version, 0xFF]), length):
        digest.update(part)
    value = digest.finalize()
    if value[:DIGEST_START_SIZE] != signature.digest_start:
        return False
    try:
        _verify(signature, signer, value, make_hash())
    except (InvalidSignature, ValueError):  # the latter for points and numbers that are none
        return False
    return True


def over_user_id(primary: PublicKey, user_id: bytes) -> tuple[bytes, ...]:
    """What a certification signs."""
    return primary.hashed(), b"\xb4" + len(user_id).to_bytes(4), user_id


def over_subkey(primary: PublicKey, subkey: PublicKey) -> tuple[bytes, ...]:
    """What a subkey's binding or revocation signs."""
    return primary.hashed(), subkey.hashed()


def _verify(signature: Signature, signer: PublicKey, digest: bytes, algorithm: hashes.HashAlgorithm) -> None:
    fields = Fields(signature.values)
    if signer.algorithm in (RSA, RSA_SIGN):
        n, e = signer.numbers
        value = fields.mpi().rjust((n.bit_length() + 7) // 8, b"\0")
        rsa.RSAPublicNumbers(e, n).public_key().verify(value, digest, padding.PKCS1v15(), Prehashed(algorithm))
    elif signer.algorithm == DSA:
        p, q, g, y = signer.numbers
        key = dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key()
        key.verify(_dss(fields), digest, Prehashed(algorithm))
    elif signer.algorithm == ECDSA and signer.curve is not None and signer.curve.kind is not None:
        point = ec.EllipticCurvePublicKey.from_encoded_point(signer.curve.kind(), signer.point)
        point.verify(_dss(fields), digest, ec.ECDSA(Prehashed(algorithm)))
    elif signer.algorithm == EDDSA_LEGACY and signer.curve is not None and signer.curve.name == ED25519_LEGACY:
        value = fields.mpi().rjust(32, b"\0") + fields.mpi().rjust(32, b"\0")
        Ed25519PublicKey.from_public_bytes(signer.point[1:]).verify(value, digest)
    elif signer.algorithm == ED25519:
        Ed25519PublicKey.from_public_bytes(signer.point).verify(fields.take(64), digest)
    elif signer.algorithm == ED448:
        Ed448PublicKey.from_public_bytes(signer.point).verify(fields.take(114), digest)
    else:
        raise InvalidSignature


def _dss(fields: Fields) -> bytes:
    return encode_dss_signature(int.from_bytes(fields.mpi()), int.from_bytes(fields.mpi()))
