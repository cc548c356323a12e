"""Session keys encrypted for public keys: PKESK packets (RFC 9580, section 5.1)."""

import secrets
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import padding, rsa

from walpy.openpgp.algorithms import AES_CIPHERS, CIPHERS, ECDH, ELGAMAL, RSA, RSA_ENCRYPT, X448, X25519
from walpy.openpgp.ecdh import seal, seal_native, unseal, unseal_native
from walpy.openpgp.fields import Fields, encode_mpi
from walpy.openpgp.keys import NATIVE_SIZES, PublicKey
from walpy.openpgp.packets import PKESK, encode_packet
from walpy.openpgp.secret_keys import PrivateKey

CHECKSUM_SIZE = 2
LEAST_PADDING = 8  # bytes of PKCS #1


class Pkesk(NamedTuple):
    """A packet. key_id: 8 bytes, zero for an anonymous recipient. data: the algorithm's fields.

    fingerprint: of the recipient's key, in packets of version 6 alone.
    """

    version: int
    key_id: bytes
    algorithm: int
    data: bytes
    fingerprint: bytes = b""

    def may_be_for(self, key: PublicKey) -> bool:
        """Whether it names a key, or nobody."""
        if self.fingerprint:
            return self.fingerprint == key.fingerprint
        return self.key_id == key.key_id or not any(self.key_id)


class SessionKey(NamedTuple):
    """A session key. cipher: its number; 0 in packets of version 6, where the encrypted data say it."""

    cipher: int
    key: bytes

    def __repr__(self) -> str:
        return f"SessionKey(cipher={self.cipher})"


def parse_pkesk(body: bytes) -> Pkesk:
    """Parse a packet. Raises ValueError for one that is truncated or of an unknown version."""
    fields = Fields(body)
    version = fields.byte()
    fingerprint = b""
    if version == 3:
        key_id = fields.take(8)
    elif version == 6:
        recipient = fields.counted()
        key_id, fingerprint = _key_id_of(recipient) if recipient else bytes(8), recipient[1:]
    else:
        raise ValueError(f"session key packets of version {version} are not supported")
    return Pkesk(version, key_id, fields.byte(), fields.rest(), fingerprint)


def _key_id_of(recipient: bytes) -> bytes:
    if (recipient[0], len(recipient)) == (4, 21):
        return recipient[-8:]
    if (recipient[0], len(recipient)) == (6, 33):
        return recipient[1:9]
    raise ValueError("a session key packet names its key in an unknown form")


def encrypt_session_key(key: PublicKey, session_key: SessionKey) -> bytes:
    """A packet of version 3 with the session key for one key. Raises ValueError for a key that cannot encrypt it."""
    start = b"\x03" + key.key_id + bytes([key.algorithm])
    if key.algorithm in (X25519, X448):
        ephemeral, wrapped = seal_native(key, session_key.key)
        data = ephemeral + bytes([1 + len(wrapped), session_key.cipher]) + wrapped
        return encode_packet(PKESK, start + data)
    block = bytes([session_key.cipher]) + session_key.key + checksum(session_key.key)
    if key.algorithm in (RSA, RSA_ENCRYPT):
        n, e = key.numbers
        data = encode_mpi(rsa.RSAPublicNumbers(e, n).public_key().encrypt(block, padding.PKCS1v15()))
    elif key.algorithm == ELGAMAL:
        data = _encrypt_elgamal(key, block)
    else:
        point, wrapped = seal(key, block)
        data = encode_mpi(point) + bytes([len(wrapped)]) + wrapped
    return encode_packet(PKESK, start + data)


def checksum(key: bytes) -> bytes:
    """Sum of a session key's bytes."""
    return (sum(key) & 0xFFFF).to_bytes(CHECKSUM_SIZE)


def decrypt_session_key(packet: Pkesk, private: PrivateKey) -> SessionKey:
    """The session key. Raises ValueError when the packet is malformed or not for this key."""
    if packet.algorithm != private.public.algorithm:
        raise ValueError("the session key is encrypted by another algorithm")
    fields = Fields(packet.data)
    if packet.algorithm in (X25519, X448):
        return _native(packet, private, fields)
    if packet.algorithm in (RSA, RSA_ENCRYPT):
        block = _decrypt_rsa(private, fields.exact_mpi())
    elif packet.algorithm == ELGAMAL:
        block = _decrypt_elgamal(private, fields.exact_mpi(), fields.exact_mpi())
    else:
        assert packet.algorithm == ECDH
        block = unseal(private.public, private.number, fields.exact_mpi(), fields.counted())
    fields.end()
    return _parse_block(packet.version, block)


def _parse_block(version: int, block: bytes) -> SessionKey:
    start = 1 if version == 3 else 0
    key = block[start:-CHECKSUM_SIZE]
    if block[-CHECKSUM_SIZE:] != checksum(key) or not key:
        raise ValueError("the session key has a wrong checksum")
    return SessionKey(block[0] if start else 0, key)


def _native(packet: Pkesk, private: PrivateKey, fields: Fields) -> SessionKey:
    ephemeral = fields.take(NATIVE_SIZES[packet.algorithm])
    sealed = fields.counted()
    fields.end()
    cipher, wrapped = (sealed[0], sealed[1:]) if packet.version == 3 and sealed else (0, sealed)
    key = unseal_native(private.public, private.number, ephemeral, wrapped)
    # The cipher stands outside of the wrapping.
    if packet.version == 3 and (cipher not in AES_CIPHERS or CIPHERS[cipher].key_size != len(key)):
        raise ValueError("the session key has another size than its cipher takes")
    return SessionKey(cipher, key)


def _decrypt_rsa(private: PrivateKey, value: bytes) -> bytes:
    assert private.rsa is not None
    size = (private.rsa.key_size + 7) // 8
    if len(value) > size:
        raise ValueError("the encrypted session key is larger than the key")
    return private.rsa.decrypt(value.rjust(size, b"\0"), padding.PKCS1v15())


def _encrypt_elgamal(key: PublicKey, block: bytes) -> bytes:
    p, g, y = key.numbers
    size = (p.bit_length() + 7) // 8
    filling = bytes(secrets.randbelow(255) + 1 for _ in range(size - 3 - len(block)))
    if len(filling) < LEAST_PADDING:
        raise ValueError(f"key {key.name} is too short")
    k = secrets.randbelow(p - 3) + 2
    message = int.from_bytes(b"\0\2" + filling + b"\0" + block)
    return encode_mpi(pow(g, k, p)) + encode_mpi(message * pow(y, k, p) % p)


def _decrypt_elgamal(private: PrivateKey, first: bytes, second: bytes) -> bytes:
    p = private.public.numbers[0]
    a, b = int.from_bytes(first), int.from_bytes(second)
    if not (0 < a < p and 0 < b < p):
        raise ValueError("the encrypted session key is larger than the key")
    padded = (b * pow(a, p - 1 - int.from_bytes(private.number), p) % p).to_bytes((p.bit_length() + 7) // 8)
    filling, zero, block = padded[2:].partition(b"\0")
    if padded[:2] != b"\0\2" or not zero or len(filling) < LEAST_PADDING:
        raise ValueError("the session key has a wrong padding")
    return block
