"""What stored bytes are, by the marks that formats leave: codecs, OpenPGP, headers of key services.

libsodium leaves none: what bears no mark may be that, or damage. Used for messages, never to choose how to read.
"""

from importlib import import_module
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from walpy.stream.cipher import Cipher

HEAD_SIZE: Final = 8192  # bytes; the largest header that a cipher writes
AWS_BLOB_SIZE: Final = 184
YANDEX_MAGIC: Final = b"yckms\x01"
ENVELOPE_MAGIC: Final = b"envelope-yc-kms\x01"

OPENPGP_MODULE: Final = "walpy.openpgp.describe"

# Names of ciphers, as their name attribute has them, and the setting that makes each read.
SETTINGS: Final = {
    "OpenPGP": "WALG_PGP_KEY_PATH",
    "envelope OpenPGP": "WALG_ENVELOPE_PGP_KEY_PATH",
    "AWS KMS": "WALG_CSE_KMS_ID",
    "Yandex KMS": "YC_CSE_KMS_KEY_ID",
    "libsodium": "WALG_LIBSODIUM_KEY_PATH",
}

_PLAIN: Final = (
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop"),
    (b"\x5d\0\0\x80\0" + b"\xff" * 8, "lzma"),
    (b'{"', "JSON"),
)
_DARE: Final = ((0x20, 0), (0x20, 1), (0x10, 0), (0x10, 1))  # first two bytes of a package: version and cipher
_PUBLIC_SESSION_KEY, _SECRET_SESSION_KEY = 1, 3  # tags of the OpenPGP packets that hold one
_KEY_ALGORITHMS: Final = (1, 2, 16, 18, 25, 26)  # RSA, ElGamal, ECDH, X25519, X448
_OLD_LENGTH_OCTETS: Final = (1, 2, 4, 0)  # by the packet's length type
_WAL_HEADER: Final = Struct("<HHI")  # magic, flags, timeline
_WAL_MAGIC, _LONG_HEADER = 0xD1, 0x02  # PostgreSQL 10 and later, on machines of little-endian order
_TAR: Final = slice(257, 262)  # where a tar header has its mark


class Found(NamedTuple):
    """What bytes are. codec: of plain ones. cipher: of encrypted ones, by name. Both empty: they bear no mark.

    text: for people.
    """

    text: str
    codec: str = ""
    cipher: str = ""


NO_MARK: Final = Found("no known mark: encrypted with libsodium, compressed with brotli, stored as it is, or damaged")


def identify(head: bytes) -> Found:
    """What an object that begins with head is; head: up to HEAD_SIZE bytes."""
    for magic, name in _PLAIN:
        if head.startswith(magic):
            return Found(f"plain, {name}", codec=name)
    if head[_TAR] == b"ustar":
        return Found("plain, an uncompressed tar", codec="none")
    if _is_wal(head):
        return Found("plain, an uncompressed WAL segment", codec="none")
    if head.startswith(ENVELOPE_MAGIC):
        return Found(f"an OpenPGP message, its key wrapped by Yandex KMS{_key_ids(head)}", cipher="envelope OpenPGP")
    if head.startswith(YANDEX_MAGIC):
        return Found("a DARE stream, its key wrapped by Yandex KMS", cipher="Yandex KMS")
    if tuple(head[AWS_BLOB_SIZE : AWS_BLOB_SIZE + 2]) in _DARE:
        return Found(f"a DARE stream behind {AWS_BLOB_SIZE} bytes, as of AWS KMS", cipher="AWS KMS")
    if _is_openpgp(head):
        return Found(_described(head), cipher="OpenPGP")
    return NO_MARK


def foreign(head: bytes, cipher: "Cipher | None") -> Found | None:
    """What an object is, if its marks say that it is something else than the configured cipher (or none) reads."""
    found, configured = identify(head), cipher.name if cipher else ""
    is_marked = bool(found.cipher or found.codec)
    return found if is_marked and found.cipher != configured else None


def advice(head: bytes, cipher: "Cipher | None") -> str:
    """What would read an object that could not be read; empty when it is what the configured cipher reads."""
    found, configured = identify(head), cipher.name if cipher else ""
    if found.cipher:
        if found.cipher == configured:
            return ""
        return f"It is {found.text}: {SETTINGS[found.cipher]} would read it."
    if found.codec:
        text = f"It is {found.text}, not encrypted: it is read without the settings of {configured}."
        return text if configured else ""
    if configured == "libsodium":
        return ""
    of_what = configured or "its format"
    return f"It bears no mark of {of_what}: it may be damaged, or encrypted with libsodium (WALG_LIBSODIUM_KEY)."


def _is_wal(head: bytes) -> bool:
    """Whether it begins as a segment does: a magic of PostgreSQL, flags of a first page, a timeline."""
    magic, flags, timeline = _WAL_HEADER.unpack(head[: _WAL_HEADER.size].ljust(_WAL_HEADER.size, b"\0"))
    return bool(magic >> 8 == _WAL_MAGIC and flags & _LONG_HEADER and not flags >> 4 and 0 < timeline < 1 << 16)


def _is_openpgp(head: bytes) -> bool:
    """Whether it begins with a session key's packet, as encrypted messages do: libsodium's first bytes are random."""
    if len(head) < 16 or not head[0] & 0x80:
        return False
    is_new = bool(head[0] & 0x40)
    tag = head[0] & 0x3F if is_new else head[0] >> 2 & 0x0F
    start = 1 + (_length_octets(head[1]) if is_new else _OLD_LENGTH_OCTETS[head[0] & 3])
    version = head[start]
    if tag == _SECRET_SESSION_KEY:
        return version in (4, 5, 6)
    if tag != _PUBLIC_SESSION_KEY:
        return False
    return version == 6 or (version == 3 and head[start + 9] in _KEY_ALGORITHMS)


def _length_octets(first: int) -> int:
    """Octets of a new packet's length."""
    return 1 if first < 192 else 2 if first < 224 else 5


def _described(head: bytes) -> str:
    """An OpenPGP message with its recipients, where the packet layer is there to read them."""
    try:
        found = import_module(OPENPGP_MODULE).describe(head)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("walpy.openpgp"):
            raise
        return "an OpenPGP message"
    return str(found or "an OpenPGP message")


def _key_ids(head: bytes) -> str:
    """The key ids in an envelope's header."""
    start = len(ENVELOPE_MAGIC) + 4
    size = int.from_bytes(head[start - 4 : start], "little")
    text = head[start : start + size].decode("ascii", "replace")
    return f", for {text}" if size <= HEAD_SIZE and text.isprintable() else ""
