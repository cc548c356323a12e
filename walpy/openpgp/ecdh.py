"""Session keys by elliptic curves: ECDH (RFC 9580, section 11.5), X25519 and X448 (sections 5.1.6, 5.1.7)."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from walpy.openpgp.algorithms import CIPHERS, CURVE25519, ECDH, HASHES, X25519
from walpy.openpgp.keys import PublicKey

PADDED_SIZE = 40  # bytes of a padded session key, as go-crypto writes it; gpg pads less
NATIVE_PREFIX = b"\x40"  # of a Curve25519 point in an ECDH packet
UNCOMPRESSED = b"\x04"  # of a point with two coordinates


def seal(key: PublicKey, block: bytes) -> tuple[bytes, bytes]:
    """Encrypt a session key block for an ECDH key: the ephemeral point, and the wrapped block. Raises ValueError."""
    secret, point = _new_exchange(key)
    padding = PADDED_SIZE - len(block)
    return point, aes_key_wrap(_wrapping_key(key, secret), block + bytes([padding]) * padding)


def unseal(key: PublicKey, number: bytes, point: bytes, wrapped: bytes) -> bytes:
    """The session key block. number: the secret scalar, big-endian. Raises ValueError when it does not open."""
    secret = _exchange(key, number, point)
    try:
        block = aes_key_unwrap(_wrapping_key(key, secret), wrapped)
    except InvalidUnwrap:
        raise ValueError("the session key does not unwrap") from None
    return block[: -block[-1]]


def _wrapping_key(key: PublicKey, secret: bytes) -> bytes:
    assert key.kdf is not None
    cipher, make_hash = CIPHERS.get(key.kdf.cipher), HASHES.get(key.kdf.hash)
    if cipher is None or make_hash is None or cipher.block_size != 16:
        raise ValueError(f"key {key.name} asks for an unknown key derivation")
    fingerprint = key.fingerprint[:20] if key.version == 4 else key.fingerprint
    parameters = bytes([len(key.oid)]) + key.oid + bytes([ECDH, 3, 1, key.kdf.hash, key.kdf.cipher])
    info = parameters + b"Anonymous Sender    " + fingerprint
    return ConcatKDFHash(make_hash(), cipher.key_size, info).derive(secret)


def _new_exchange(key: PublicKey) -> tuple[bytes, bytes]:
    """A secret shared with a key, and the ephemeral point that tells it to the key's owner."""
    assert key.curve is not None
    if key.curve.name == CURVE25519:
        ephemeral = X25519PrivateKey.generate()
        secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(key.point[1:]))
        return secret, NATIVE_PREFIX + ephemeral.public_key().public_bytes_raw()
    curve = _curve(key)
    private = ec.generate_private_key(curve)
    numbers = private.public_key().public_numbers()
    point = UNCOMPRESSED + numbers.x.to_bytes(key.curve.size) + numbers.y.to_bytes(key.curve.size)
    return private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(curve, key.point)), point


def _exchange(key: PublicKey, number: bytes, point: bytes) -> bytes:
    assert key.curve is not None
    if key.curve.name == CURVE25519:
        private = X25519PrivateKey.from_private_bytes(number.rjust(32, b"\0")[::-1])
        return private.exchange(X25519PublicKey.from_public_bytes(_plain_u(point.removeprefix(NATIVE_PREFIX))))
    if point[:1] != UNCOMPRESSED:
        raise ValueError("the ephemeral point is in an unknown form")
    curve = _curve(key)
    peer = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    return ec.derive_private_key(int.from_bytes(number), curve).exchange(ec.ECDH(), peer)


def _curve(key: PublicKey) -> ec.EllipticCurve:
    if key.curve is None or key.curve.kind is None:
        raise ValueError(f"key {key.name} is on an unknown curve")
    return key.curve.kind()


def _plain_u(point: bytes) -> bytes:
    """The coordinate as it is; its highest bit, which the exchange would pass over, must not be set."""
    if len(point) != 32 or point[-1] & 0x80:
        raise ValueError("the ephemeral point is malformed")
    return point


def seal_native(key: PublicKey, session_key: bytes) -> tuple[bytes, bytes]:
    """Encrypt a session key for an X25519 or X448 key: the ephemeral public key, and the wrapped session key."""
    private = X25519PrivateKey.generate() if key.algorithm == X25519 else X448PrivateKey.generate()
    ephemeral = private.public_key().public_bytes_raw()
    return ephemeral, aes_key_wrap(_native_key(key, private, key.point, ephemeral), session_key)


def unseal_native(key: PublicKey, number: bytes, ephemeral: bytes, wrapped: bytes) -> bytes:
    """The session key. Raises ValueError when it does not open."""
    private: X25519PrivateKey | X448PrivateKey
    if key.algorithm == X25519:
        private = X25519PrivateKey.from_private_bytes(number)
        _plain_u(ephemeral)
    else:
        private = X448PrivateKey.from_private_bytes(number)
    try:
        return aes_key_unwrap(_native_key(key, private, ephemeral, ephemeral), wrapped)
    except InvalidUnwrap:
        raise ValueError("the session key does not unwrap") from None


def _native_key(key: PublicKey, private: X25519PrivateKey | X448PrivateKey, peer: bytes, ephemeral: bytes) -> bytes:
    if isinstance(private, X25519PrivateKey):
        secret = private.exchange(X25519PublicKey.from_public_bytes(peer))
        kdf = HKDF(hashes.SHA256(), 16, None, b"OpenPGP X25519")
    else:
        secret = private.exchange(X448PublicKey.from_public_bytes(peer))
        kdf = HKDF(hashes.SHA512(), 32, None, b"OpenPGP X448")
    return kdf.derive(ephemeral + key.point + secret)
