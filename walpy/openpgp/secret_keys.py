"""Secret keys: how they are locked, and what unlocks them (RFC 9580, section 5.5.3)."""

import hashlib
import hmac
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from walpy.openpgp.aead import opener
from walpy.openpgp.algorithms import AEAD_NAMES, CIPHERS, NONCE_SIZES, RSA, RSA_ENCRYPT, X448, X25519
from walpy.openpgp.fields import Fields
from walpy.openpgp.keys import PublicKey, parse_public_key
from walpy.openpgp.s2k import SIMPLE, S2k, parse_s2k

PLAIN, WITH_AEAD, WITH_SHA1, WITH_SUM = 0, 253, 254, 255  # usage: how the secret part is protected
MD5 = 1
SHA1_SIZE, SUM_SIZE = 20, 2  # bytes
NATIVE_SIZES = {X25519: 32, X448: 56}  # bytes of a secret key


class WrongPassphrase(ValueError):
    """The pass phrase does not open the key."""


class Lock(NamedTuple):
    """How a secret part is locked: usage, numbers of cipher and AEAD mode, specifier, nonce or initial vector."""

    usage: int
    cipher: int = 0
    mode: int = 0
    s2k: S2k = S2k(SIMPLE)
    iv: bytes = b""


class PrivateKey:
    """An unlocked key that decrypts session keys.

    number: the secret integer of ElGamal and elliptic curves, big-endian. rsa: the key of RSA.
    """

    def __init__(self, public: PublicKey, number: bytes, rsa_key: rsa.RSAPrivateKey | None) -> None:
        self.public = public
        self.number = number
        self.rsa = rsa_key

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.name})"


class SecretKey:
    """A key that may be locked. tag: of its packet, which some locks depend on."""

    def __init__(self, tag: int, body: bytes) -> None:
        """body: the packet's. Raises ValueError when it is malformed or of an unknown form."""
        self.public, secret = parse_public_key(body)
        self._tag = tag
        fields = Fields(secret)
        self.lock = _parse_lock(fields, self.public.version)
        self._data = fields.rest()

    def __repr__(self) -> str:
        return f"SecretKey({self.public.name})"

    @property
    def is_absent(self) -> bool:
        """Whether the packet only says that the secret key is elsewhere."""
        return self.lock.s2k.is_absent

    @property
    def is_locked(self) -> bool:
        """Whether it takes a pass phrase."""
        return self.lock.usage != PLAIN

    def unlock(self, passphrase: bytes) -> PrivateKey:
        """The key itself. Raises WrongPassphrase, and ValueError for what is damaged or not supported."""
        try:
            return _private_key(self.public, Fields(self._open(passphrase)))
        except WrongPassphrase:
            raise
        except ValueError as error:
            # Without its context: the libraries' messages are not ours to vouch for.
            raise ValueError(str(error)) from None

    def _open(self, passphrase: bytes) -> bytes:
        usage = self.lock.usage
        if usage == PLAIN:
            return self._data if self.public.version == 6 else _checked_sum(self._data)
        cipher = CIPHERS.get(self.lock.cipher)
        if cipher is None:
            raise ValueError(f"the key is locked with cipher {self.lock.cipher}, which is not supported")
        key = self.lock.s2k.derive(passphrase, cipher.key_size)
        if usage == WITH_AEAD:
            return self._open_aead(key)
        plain = cipher.cfb(key, self.lock.iv).decryptor().update(self._data)
        try:
            return _checked_sha1(plain) if usage == WITH_SHA1 else _checked_sum(plain)
        except ValueError:
            raise WrongPassphrase from None

    def _open_aead(self, key: bytes) -> bytes:
        """Source: RFC 9580, section 3.7.2.1."""
        cipher, mode = self.lock.cipher, self.lock.mode
        tag = bytes([0xC0 | self._tag])
        info = tag + bytes([self.public.version, cipher, mode])
        derived = HKDF(hashes.SHA256(), CIPHERS[cipher].key_size, None, info).derive(key)
        try:
            return opener(mode, CIPHERS[cipher], derived)(self.lock.iv, self._data, tag + self.public.body)
        except InvalidTag:
            raise WrongPassphrase from None


def _parse_lock(fields: Fields, version: int) -> Lock:
    usage = fields.byte()
    if usage == PLAIN:
        return Lock(PLAIN)
    if version == 6:
        fields.byte()  # bytes of what follows, up to the initial vector
    if usage not in (WITH_AEAD, WITH_SHA1, WITH_SUM):  # of old: the cipher itself
        cipher, mode, s2k = usage, 0, S2k(SIMPLE, MD5)
    else:
        cipher = fields.byte()
        mode = fields.byte() if usage == WITH_AEAD else 0
        if version == 6:
            fields.byte()  # bytes of the specifier
        s2k = parse_s2k(fields)
    if s2k.is_absent:
        return Lock(usage, cipher, mode, s2k)
    if cipher not in CIPHERS or (usage == WITH_AEAD and mode not in AEAD_NAMES):
        raise ValueError(f"a secret key is locked with cipher {cipher}, mode {mode}: not supported")
    size = NONCE_SIZES[mode] if usage == WITH_AEAD else CIPHERS[cipher].block_size
    return Lock(usage, cipher, mode, s2k, fields.take(size))


def _checked_sha1(data: bytes) -> bytes:
    plain, digest = data[:-SHA1_SIZE], data[-SHA1_SIZE:]
    if not hmac.compare_digest(hashlib.sha1(plain, usedforsecurity=False).digest(), digest):
        raise ValueError("the secret key is damaged: wrong checksum")
    return plain


def _checked_sum(data: bytes) -> bytes:
    plain, checksum = data[:-SUM_SIZE], data[-SUM_SIZE:]
    if sum(plain) & 0xFFFF != int.from_bytes(checksum) or len(checksum) < SUM_SIZE:
        raise ValueError("the secret key is damaged: wrong checksum")
    return plain


def _private_key(public: PublicKey, fields: Fields) -> PrivateKey:
    if public.algorithm in (RSA, RSA_ENCRYPT):
        d, p, q = (int.from_bytes(fields.mpi()) for _ in range(3))
        return PrivateKey(public, b"", _rsa_key(public, d, p, q))
    if size := NATIVE_SIZES.get(public.algorithm):
        return PrivateKey(public, fields.take(size), None)
    return PrivateKey(public, fields.mpi(), None)


def _rsa_key(public: PublicKey, d: int, p: int, q: int) -> rsa.RSAPrivateKey:
    n, e = public.numbers
    if p * q != n or p < 3 or q < 3:
        raise ValueError("the secret RSA key is damaged")
    coefficient = rsa.rsa_crt_iqmp(p, q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), coefficient, rsa.RSAPublicNumbers(e, n))
    # Its primes are not tested again, which takes half a second: the checksum above says that they are those made.
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def can_decrypt(key: SecretKey) -> bool:
    """Whether the key is there and is of an algorithm that decrypts."""
    return key.public.can_encrypt and not key.is_absent
