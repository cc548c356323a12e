"""Numbers that OpenPGP gives to algorithms, and what stands behind them. Source: RFC 9580, section 9."""

from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.decrepit.ciphers import algorithms as legacy
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, algorithms

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:  # where `cryptography` does not count it as outdated yet
    from cryptography.hazmat.primitives.ciphers.modes import CFB

AES128, AES256 = 7, 9
AES_CIPHERS = range(AES128, AES256 + 1)

RSA, RSA_ENCRYPT, RSA_SIGN = 1, 2, 3
ELGAMAL, DSA, ECDH, ECDSA, EDDSA_LEGACY = 16, 17, 18, 19, 22
X25519, X448, ED25519, ED448 = 25, 26, 27, 28

ENCRYPTING = frozenset({RSA, RSA_ENCRYPT, ELGAMAL, ECDH, X25519, X448})
SIGNING = frozenset({RSA, RSA_SIGN, DSA, ECDSA, EDDSA_LEGACY, ED25519, ED448})

PUBLIC_KEY_NAMES = {
    RSA: "RSA",
    RSA_ENCRYPT: "RSA",
    RSA_SIGN: "RSA",
    ELGAMAL: "ElGamal",
    DSA: "DSA",
    ECDH: "ECDH",
    ECDSA: "ECDSA",
    EDDSA_LEGACY: "EdDSA",
    X25519: "X25519",
    X448: "X448",
    ED25519: "Ed25519",
    ED448: "Ed448",
}

EAX, OCB, GCM = 1, 2, 3
AEAD_NAMES = {EAX: "EAX", OCB: "OCB", GCM: "GCM"}
NONCE_SIZES = {EAX: 16, OCB: 15, GCM: 12}  # bytes

SHA1 = 2
HASHES: dict[int, Callable[[], hashes.HashAlgorithm]] = {
    1: hashes.MD5,
    SHA1: hashes.SHA1,
    8: hashes.SHA256,
    9: hashes.SHA384,
    10: hashes.SHA512,
    11: hashes.SHA224,
    12: hashes.SHA3_256,
    14: hashes.SHA3_512,
}


class SymmetricCipher(NamedTuple):
    """A block cipher: name for people, sizes in bytes, and what makes it from a key."""

    name: str
    key_size: int
    block_size: int
    make: Callable[[bytes], BlockCipherAlgorithm]

    def cfb(self, key: bytes, iv: bytes = b"") -> Cipher[CFB]:
        """The cipher in CFB mode; no iv: all zero."""
        return Cipher(self.make(key), CFB(iv or bytes(self.block_size)))


def _camellia(key: bytes) -> BlockCipherAlgorithm:
    return (getattr(legacy, "Camellia", None) or algorithms.Camellia)(key)


CIPHERS = {
    1: SymmetricCipher("IDEA", 16, 8, legacy.IDEA),
    2: SymmetricCipher("TripleDES", 24, 8, legacy.TripleDES),
    3: SymmetricCipher("CAST5", 16, 8, legacy.CAST5),
    4: SymmetricCipher("Blowfish", 16, 8, legacy.Blowfish),
    AES128: SymmetricCipher("AES-128", 16, 16, algorithms.AES),
    8: SymmetricCipher("AES-192", 24, 16, algorithms.AES),
    AES256: SymmetricCipher("AES-256", 32, 16, algorithms.AES),
    11: SymmetricCipher("Camellia-128", 16, 16, _camellia),
    12: SymmetricCipher("Camellia-192", 24, 16, _camellia),
    13: SymmetricCipher("Camellia-256", 32, 16, _camellia),
}
UNREADABLE_CIPHERS = {10: "Twofish"}  # `cryptography` does not have it


class Curve(NamedTuple):
    """An elliptic curve: name, bytes of a coordinate, and its class when points have two coordinates."""

    name: str
    size: int
    kind: type[ec.EllipticCurve] | None = None


CURVE25519, ED25519_LEGACY = "Curve25519", "Ed25519"
CURVES = {
    bytes.fromhex("2a8648ce3d030107"): Curve("NIST P-256", 32, ec.SECP256R1),
    bytes.fromhex("2b81040022"): Curve("NIST P-384", 48, ec.SECP384R1),
    bytes.fromhex("2b81040023"): Curve("NIST P-521", 66, ec.SECP521R1),
    bytes.fromhex("2b2403030208010107"): Curve("brainpoolP256r1", 32, ec.BrainpoolP256R1),
    bytes.fromhex("2b240303020801010b"): Curve("brainpoolP384r1", 48, ec.BrainpoolP384R1),
    bytes.fromhex("2b240303020801010d"): Curve("brainpoolP512r1", 64, ec.BrainpoolP512R1),
    bytes.fromhex("2b8104000a"): Curve("secp256k1", 32, ec.SECP256K1),
    bytes.fromhex("2b060104019755010501"): Curve(CURVE25519, 32),
    bytes.fromhex("2b06010401da470f01"): Curve(ED25519_LEGACY, 32),
}


def cipher_name(number: int) -> str:
    """Name of a symmetric cipher for people."""
    cipher = CIPHERS.get(number)
    return cipher.name if cipher else UNREADABLE_CIPHERS.get(number, f"cipher {number}")


def public_key_name(number: int) -> str:
    """Name of a public-key algorithm for people."""
    return PUBLIC_KEY_NAMES.get(number, f"algorithm {number}")
