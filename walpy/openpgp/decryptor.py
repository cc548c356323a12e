"""Reads a message: finds the session key, and gives the content when, and only when, it is authentic."""

from collections.abc import Callable, Iterator, Sequence

from walpy.errors import DataCorrupt, WrongKey
from walpy.openpgp.aead import SALT_SIZE, parameters, seipd_reader, tag20_reader
from walpy.openpgp.algorithms import CIPHERS, NONCE_SIZES, cipher_name
from walpy.openpgp.contents import Contents
from walpy.openpgp.keys import key_name
from walpy.openpgp.packets import AEAD, MARKER, NONCRITICAL, PADDING, PKESK, SEIPD, SKESK, UNPROTECTED
from walpy.openpgp.secret_keys import PrivateKey
from walpy.openpgp.seipd import SeipdReader
from walpy.openpgp.session_keys import Pkesk, SessionKey, decrypt_session_key, parse_pkesk
from walpy.openpgp.stream import Collected, PacketStream, PartsSink, Sink, Skipped
from walpy.storage.base import READ_SIZE, Chunk

MOST_RECIPIENTS = 1024  # session key packets of one message
SKIPPED = frozenset({MARKER, PADDING, SKESK, *NONCRITICAL})


class Decryptor:
    """A Decoder that decrypts one message.

    Nothing is complete before finish() has returned: the last piece is held back until the message's end is found
    authentic. Memory: some chunks of input, and one piece of at most READ_SIZE bytes of output.
    """

    def __init__(self, keys: Sequence[PrivateKey]) -> None:
        self._keys = keys
        self._session_keys: list[Pkesk] = []
        self._has_data = False
        self._packets = PacketStream(self._open)
        self._held = b""

    def update(self, chunk: Chunk) -> bytes:
        """Decrypt a chunk. Raises DataCorrupt."""
        return b"".join(self.pieces(chunk))

    def pieces(self, chunk: Chunk) -> Iterator[bytes]:
        """Decrypt a chunk, in bounded pieces, however much it inflates. Raises DataCorrupt."""
        view = memoryview(chunk)
        for start in range(0, len(view), READ_SIZE):
            yield from self._hold_back(self._packets.feed(view[start : start + READ_SIZE]))

    def finish(self) -> bytes:
        """The last piece. Raises DataCorrupt when the message is truncated, changed, or followed by other data."""
        rest = b"".join(self._hold_back(self._packets.close()))
        if not self._has_data:
            raise DataCorrupt("the OpenPGP message has no encrypted data")
        return rest + self._held

    def _hold_back(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if piece:
                held, self._held = self._held, piece
                yield held

    def _open(self, tag: int) -> Sink:
        if tag in SKIPPED:
            return Skipped()
        if self._has_data:
            raise DataCorrupt(f"other data follow the OpenPGP message (a packet with tag {tag})")
        if tag == PKESK:
            return Collected(self._add_session_key)
        if tag == UNPROTECTED:
            raise DataCorrupt("the OpenPGP message is not integrity protected")
        if tag not in (SEIPD, AEAD):
            raise DataCorrupt(f"not an encrypted OpenPGP message (it begins with a packet with tag {tag})")
        self._has_data = True
        return EncryptedData(tag, self._find_session_key)

    def _add_session_key(self, body: bytes) -> None:
        if len(self._session_keys) == MOST_RECIPIENTS:
            raise DataCorrupt("the OpenPGP message has too many recipients")
        try:
            self._session_keys.append(parse_pkesk(body))
        except ValueError as error:
            raise DataCorrupt(f"the OpenPGP message is damaged: {error}") from None

    def _find_session_key(self, cipher: int) -> SessionKey:
        """The session key. cipher: number that the encrypted data say, 0 when the session key says it."""
        reasons = []
        for packet in self._session_keys:
            for key in self._keys:
                if not packet.may_be_for(key.public):
                    continue
                try:
                    return _checked(decrypt_session_key(packet, key), cipher)
                except ValueError as error:
                    reasons.append(f"key {key.public.name}: {error}")
        raise self._no_key(reasons)

    def _no_key(self, reasons: list[str]) -> DataCorrupt | WrongKey:
        if reasons:
            return DataCorrupt(f"the OpenPGP session key cannot be decrypted ({'; '.join(reasons[:3])})")
        wanted = ", ".join(key_name(packet.key_id) for packet in self._session_keys) or "nobody"
        have = ", ".join(key.public.name for key in self._keys)
        return WrongKey(
            f"openpgp: incorrect key: the message is encrypted for {wanted}, and the secret keys at hand are {have}",
            "Give the secret key of one of its recipients: WALG_PGP_KEY_PATH would read it.",
        )


def _checked(session_key: SessionKey, cipher: int) -> SessionKey:
    number = cipher or session_key.cipher
    if number not in CIPHERS:
        raise ValueError(f"the message is encrypted with {cipher_name(number)}, which is not supported")
    if len(session_key.key) != CIPHERS[number].key_size:
        raise ValueError("the session key has another size than its cipher takes")
    return SessionKey(number, session_key.key)


class EncryptedData(PartsSink):
    """Sink of an encrypted packet's body: reads its version and parameters, then hands the rest to their reader."""

    def __init__(self, tag: int, find_session_key: Callable[[int], SessionKey]) -> None:
        self._tag = tag
        self._find_session_key = find_session_key
        self._head = bytearray()
        self._reader: PartsSink | None = None

    def feed_parts(self, parts: Sequence[Chunk]) -> Iterator[bytes]:
        """Take chunks. Raises DataCorrupt."""
        rest = [part for part in parts if len(part)]
        while self._reader is None and rest:
            view = memoryview(rest[0])
            self._head.append(view[0])
            rest[:1] = [view[1:]] if len(view) > 1 else []
            self._reader = self._open_reader(bytes(self._head))
        if self._reader is not None and rest:
            yield from self._reader.feed_parts(rest)

    def close(self) -> Iterator[bytes]:
        """Give the rest. Raises DataCorrupt."""
        if self._reader is None:
            raise DataCorrupt("the OpenPGP data are truncated")
        yield from self._reader.close()

    def _open_reader(self, head: bytes) -> PartsSink | None:
        """The reader, or None while more bytes of the head are wanted."""
        version, fields = head[0], head[1:]
        if (self._tag, version) == (SEIPD, 1):
            session_key = self._find_session_key(0)
            return SeipdReader(CIPHERS[session_key.cipher], session_key.key, Contents())
        if (self._tag, version) not in ((SEIPD, 2), (AEAD, 1)):
            raise DataCorrupt(f"the OpenPGP data have an unknown form (packet {self._tag} of version {version})")
        if len(fields) < 3:
            return None
        found = parameters(fields[:3])
        if len(fields) < 3 + (SALT_SIZE if self._tag == SEIPD else NONCE_SIZES[found.mode]):
            return None
        key = self._find_session_key(found.cipher).key
        make = seipd_reader if self._tag == SEIPD else tag20_reader
        return make(fields, key, Contents())
