"""What catchup-send and catchup-receive say to each other: WAL-G's messages, over one TCP connection.

Each direction is a gob stream, encrypted if the settings have a key, in one lz4 frame. WAL-G neither ends its frames
nor its encrypted streams, so the end of the conversation is a message; walpy's sender ends both, and its receiver what
is encrypted; both read what is not ended. With a key only walpys understand each other: WAL-G waits for the other
side's first bytes before it sends its own.

walpy's receiver says more, which WAL-G skips: Position and Reached, see standby.Standby. And it confirms at the end.

Memory: two chunks of CHUNK_SIZE, encoded and decoded, besides what gob.py holds.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lz4.frame import BLOCKSIZE_MAX1MB, LZ4FrameCompressor, LZ4FrameDecompressor

from walpy.archive import REQUIRE_ENCRYPTION
from walpy.catchup.gob import BOOL, BYTES, STRING, UINT, Decoder, Encoder, Map, Opaque, Slice, Struct
from walpy.errors import BackupError, ConfigError, DataCorrupt, UsageError
from walpy.stream.ciphers import open_cipher

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.stream.cipher import Cipher

CHUNK_SIZE: Final = 256 << 10  # bytes that are read, or written, at once
PIECE_SIZE: Final = 64 << 10  # bytes of a file in one message
CONNECT_SECONDS: Final = 30.0
SILENCE_SECONDS: Final = 1800.0  # a server's checkpoint may take long; a dead host is noticed within two minutes
KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
USER_TIMEOUT_MS: Final = 120_000  # until sent data must be acknowledged
CONFIRMATION: Final = b"walpy: caught up\n"

CONTROL: Final = Struct(
    "PgControlData",
    (
        ("SystemIdentifier", UINT),
        ("CurrentTimeline", UINT),
        ("Checkpoint", UINT),
        ("Position", UINT),
        ("Reached", UINT),
    ),
)
_ENTRY: Final = Struct(
    "BackupFileDescription",
    (("IsIncremented", BOOL), ("IsSkipped", BOOL), ("MTime", Opaque("Time")), ("UpdatesCount", UINT)),
)
FILE_LIST: Final = Map("BackupFileList", STRING, _ENTRY)
COMMAND: Final = Struct(
    "CatchupCommandDto",
    (
        ("IsDone", BOOL),
        ("IsIncremental", BOOL),
        ("IsFull", BOOL),
        ("IsDelete", BOOL),
        ("IsBinContents", BOOL),
        ("FileSize", UINT),
        ("FileName", STRING),
        ("BinaryContents", BYTES),
        ("FilesToDelete", Slice(STRING)),
    ),
)
# Go's zero time in UTC: no file has it, so WAL-G takes none for unchanged because of its modification time alone.
NO_TIME: Final = b"\x01" + bytes(12) + b"\xff\xff"


class Command(NamedTuple):
    """One command of a sender; kind: IsFull, ...; contents: of a small file."""

    kind: str
    name: str = ""
    size: int = 0
    contents: bytes = b""
    names: tuple[str, ...] = ()

    @classmethod
    def from_gob(cls, value: object) -> "Command":
        """Take what a decoder gave apart. Raises DataCorrupt when it is no command."""
        kinds = ("IsDone", "IsFull", "IsIncremental", "IsDelete", "IsBinContents")
        if not isinstance(value, dict) or sum(bool(value.get(kind)) for kind in kinds) != 1:
            raise DataCorrupt("the sender sent what is no command")
        return cls(
            next(kind for kind in kinds if value.get(kind)),
            value.get("FileName", ""),
            value.get("FileSize", 0),
            value.get("BinaryContents", b""),
            tuple(value.get("FilesToDelete", ())),
        )

    def to_gob(self) -> Mapping[str, object]:
        """What an encoder takes."""
        return {
            self.kind: True,
            "FileName": self.name,
            "FileSize": self.size,
            "BinaryContents": self.contents,
            "FilesToDelete": self.names,
        }


def parse_place(text: str, *, host: str = "") -> tuple[str, int]:
    """Host and port of `host:port`, `[::1]:port`; with a host given also of `port`. Raises UsageError."""
    name, _, port = text.rpartition(":")
    name = name.removeprefix("[").removesuffix("]") if ":" in text else host
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16 or (not name and not host):
        raise UsageError(f"not an address: {text!r}", "It is a host's name or address, a colon, and a port.")
    return name or host, int(port)


def cipher_of(config: "Config") -> "Cipher | None":
    """What encrypts the connection; None: it is plain. Raises ConfigError."""
    if config.encryption_settings():
        return open_cipher(config)
    if config.boolean(REQUIRE_ENCRYPTION):
        raise ConfigError(
            f"data would be sent plain, and {REQUIRE_ENCRYPTION} is set ({config.origin(REQUIRE_ENCRYPTION)})",
            "Set a key (docs/encryption.md), or unset it.",
        )
    return None


class Link:
    """One connection; close() it. Raises BackupError when the other side is gone or silent, DataCorrupt."""

    def __init__(self, connection: socket.socket, place: str, cipher: "Cipher | None") -> None:
        self.sent = 0  # bytes
        self._connection = connection
        self._place = place
        self._writer = _Writer(self._send, cipher)
        self._reader = _Reader(self._receive, cipher)
        self._encoder = Encoder()
        self._decoder = Decoder(self._reader.read)
        connection.settimeout(SILENCE_SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)

    @classmethod
    def to(cls, place: str, cipher: "Cipher | None") -> "Link":
        """Connect to a receiver at `host:port`. Raises UsageError, BackupError."""
        address = parse_place(place)
        try:
            return cls(socket.create_connection(address, CONNECT_SECONDS), place, cipher)
        except OSError as error:
            raise BackupError(
                f"cannot connect to {place}: {error.strerror or error}", "Is catchup-receive running there?"
            ) from error

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def put(self, kind: Struct | Map | int, value: object) -> None:
        """Send a value; it may wait for others, or for flush()."""
        self._writer.write(self._encoder.encode(kind, value))

    def put_command(self, command: Command) -> None:
        """The same of a command."""
        self.put(COMMAND, command.to_gob())

    def put_bytes(self, data: "bytes | memoryview") -> None:
        """Send bytes of a file."""
        for start in range(0, len(data), PIECE_SIZE):
            self.put(BYTES, bytes(data[start : start + PIECE_SIZE]))

    def flush(self) -> None:
        """Send what waits; nothing but a confirmation follows. The frame is not ended: WAL-G waits for another one."""
        self._writer.flush()

    def end(self) -> None:
        """Send what waits, and that nothing follows: WAL-G's receiver reads on until it hears that."""
        self._writer.end()
        with suppress(OSError):  # it may have heard the last value, and be gone
            self._connection.shutdown(socket.SHUT_WR)

    def get(self) -> Any:
        """The next value."""
        return self._decoder.decode()

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The bytes of a file of this size, which follow its command."""
        left = size
        while left:
            data = self.get()
            if not isinstance(data, bytes) or not 0 < len(data) <= left:
                raise DataCorrupt("the sender sent something else than a file's bytes")
            left -= len(data)
            yield memoryview(data)

    def confirm(self) -> None:
        """Tell a sender that everything is applied; WAL-G's does not wait for it."""
        try:
            self._connection.sendall(CONFIRMATION)
        except OSError:
            return

    def is_confirmed(self) -> bool:
        """Wait until a receiver has ended the connection; whether it confirmed that everything is applied."""
        heard = b""
        try:
            while data := self._receive():
                heard = (heard + data)[-len(CONFIRMATION) :]
        except BackupError:
            return False
        return heard == CONFIRMATION

    def _send(self, data: bytes) -> None:
        with self._explained():
            self._connection.sendall(data)
        self.sent += len(data)

    def _receive(self) -> bytes:
        with self._explained():
            return self._connection.recv(CHUNK_SIZE)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise BackupError(f"{self._place} has been silent for {SILENCE_SECONDS:.0f} s") from error
        except OSError as error:
            raise BackupError(
                f"the connection to {self._place} broke: {error.strerror or error}",
                "Its own messages may say why; run both commands again.",
            ) from error


class _Writer:
    """One direction: collects bytes, encrypts and compresses them."""

    def __init__(self, send: "Any", cipher: "Cipher | None") -> None:
        self._send = send
        self._encryptor = cipher.encryptor() if cipher else None
        self._compressor = LZ4FrameCompressor(block_size=BLOCKSIZE_MAX1MB, block_linked=False, auto_flush=True)
        self._waiting = bytearray()
        self._has_begun = False

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= CHUNK_SIZE:
            self._send(self._compressed(self._taken()))

    def flush(self) -> None:
        if self._encryptor:  # whose last bytes wait for its end
            self.end()
        else:
            self._send(self._compressed(self._taken()))

    def end(self) -> None:
        last = self._compressed(self._taken())
        if self._encryptor:
            last += self._compressed(bytes(self._encryptor.finish()))
        self._send(last + self._compressor.flush())  # at once: who has read the last value may be gone

    def _taken(self) -> bytes:
        """What waits, encrypted."""
        data = bytes(self._waiting)
        self._waiting.clear()
        return bytes(self._encryptor.update(data)) if self._encryptor else data

    def _compressed(self, data: bytes) -> bytes:
        head = b"" if self._has_begun else self._compressor.begin()
        self._has_begun = True
        return bytes(head + (self._compressor.compress(data) if data else b""))


class _Reader:
    """The other direction: gives exactly as many bytes as are asked for."""

    def __init__(self, receive: "Any", cipher: "Cipher | None") -> None:
        self._receive = receive
        self._chunks = self._decrypted(cipher) if cipher else self._decompressed()
        self._left = memoryview(b"")

    def read(self, count: int) -> bytes:
        if count <= len(self._left):
            data, self._left = self._left[:count], self._left[count:]
            return bytes(data)
        collected = bytearray(self._left)
        while len(collected) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise BackupError(
                    "the other side ended the connection too early", "Its messages say why; run both commands again."
                )
            collected += chunk
        self._left = memoryview(bytes(collected[count:]))
        return bytes(collected[:count])

    def _decrypted(self, cipher: "Cipher") -> Iterator[bytes]:
        decryptor = cipher.decryptor()
        for chunk in self._decompressed():
            for piece in decryptor.pieces(chunk):
                if piece:
                    yield bytes(piece)
        if rest := decryptor.finish():
            yield bytes(rest)

    def _decompressed(self) -> Iterator[bytes]:
        frame = LZ4FrameDecompressor()
        while not frame.eof and (data := self._receive()):
            try:
                plain = frame.decompress(data, CHUNK_SIZE)
                while plain:  # needs_input may be true while there is more to give
                    yield plain
                    plain = b"" if frame.eof else frame.decompress(b"", CHUNK_SIZE)
            except RuntimeError as error:
                raise DataCorrupt(
                    f"the other side does not speak lz4: {error}", "Is it catchup-send, or catchup-receive?"
                ) from error
