"""One connection between two walpys, plain and encrypted; and who is at the other end of it."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from lz4.frame import BLOCKSIZE_MAX4MB, LZ4FrameCompressor

from walpy.catchup.gob import BYTES, Encoder
from walpy.catchup.wire import COMMAND, FILE_LIST, NO_TIME, Command, Link, cipher_of, parse_place
from walpy.config import Config
from walpy.errors import BackupError, ConfigError, DataCorrupt, UsageError

KEY = {"WALG_LIBSODIUM_KEY": "a key of more than twenty-five bytes"}


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        first = socket.create_connection(server.getsockname())
        second, _ = server.accept()
        with first, second:
            yield first, second


@pytest.mark.parametrize("settings", [{}, KEY])
def test_both_directions(settings: dict[str, str], sockets: tuple[socket.socket, socket.socket]) -> None:
    config = Config.from_mapping(settings)
    sender, receiver = (Link(end, "the other", cipher_of(config)) for end in sockets)
    files = {f"base/5/{number}": {"MTime": NO_TIME} for number in range(20_000)}
    content = b"abc" * 100_000

    def receive() -> None:
        receiver.put(FILE_LIST, files)
        receiver.flush()
        heard.append(Command.from_gob(receiver.get()))
        heard.append(b"".join(receiver.pieces(len(content))))
        heard.append(Command.from_gob(receiver.get()))
        receiver.confirm()
        receiver.close()

    heard: list[object] = []
    thread = threading.Thread(target=receive)
    thread.start()
    assert sender.get() == files
    sender.put_command(Command("IsFull", "x", len(content)))
    sender.put_bytes(content)
    sender.put_command(Command("IsDone"))
    sender.end()
    assert sender.is_confirmed()
    thread.join()
    assert heard == [Command("IsFull", "x", len(content)), content, Command("IsDone")]
    assert 0 < sender.sent < len(content) * 2


def test_the_other_side_ends_too_early(sockets: tuple[socket.socket, socket.socket]) -> None:
    link = Link(sockets[0], "the other", None)
    sockets[1].close()
    assert not link.is_confirmed()
    with pytest.raises(BackupError, match="ended the connection too early"):
        link.get()


def test_the_other_side_is_something_else(sockets: tuple[socket.socket, socket.socket]) -> None:
    sockets[1].sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(DataCorrupt, match="does not speak lz4"):
        Link(sockets[0], "the other", None).get()


def test_a_frame_that_is_not_ended_is_read_to_its_last_byte(sockets: tuple[socket.socket, socket.socket]) -> None:
    """As WAL-G's sender leaves it, in blocks larger than what is decoded at once."""
    data = Encoder().encode(BYTES, os.urandom(1_000_000) + bytes(3_000_000))
    frame = LZ4FrameCompressor(block_size=BLOCKSIZE_MAX4MB, auto_flush=True, content_checksum=True)
    compressed = frame.begin() + frame.compress(data)

    def send() -> None:
        sockets[1].sendall(compressed)
        sockets[1].close()

    thread = threading.Thread(target=send)
    thread.start()
    assert len(Link(sockets[0], "x", None).get()) == 4_000_000
    thread.join()


def test_another_key(sockets: tuple[socket.socket, socket.socket]) -> None:
    with closing(Link(sockets[1], "x", cipher_of(Config.from_mapping(KEY)))) as link:
        link.put(COMMAND, {"IsDone": True})
        link.end()
    other = cipher_of(Config.from_mapping({"WALG_LIBSODIUM_KEY": "another key, as long as the first one"}))
    with pytest.raises(DataCorrupt):
        Link(sockets[0], "x", other).get()


@pytest.mark.parametrize("values", [[b""], [b"12345"], [7], [b"1", {"IsDone": True}]])
def test_pieces_that_are_none(values: list[object], sockets: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = (Link(end, "x", None) for end in sockets)
    for value in values:
        sender.put(BYTES if isinstance(value, bytes) else (2 if value == 7 else COMMAND), value)
    sender.end()
    with pytest.raises(DataCorrupt, match="something else than a file's bytes"):
        list(receiver.pieces(4))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(BackupError, match=f"cannot connect to {place}"):
        Link.to(place, None)


def test_plain_where_it_must_not_be() -> None:
    assert cipher_of(Config.from_mapping({})) is None
    with pytest.raises(ConfigError, match="data would be sent plain"):
        cipher_of(Config.from_mapping({"WALPY_REQUIRE_ENCRYPTION": "true"}))


def test_places() -> None:
    assert parse_place("db2:1337") == ("db2", 1337)
    assert parse_place("[::1]:1337") == ("::1", 1337)
    assert parse_place("1337", host="::") == ("::", 1337)
    assert parse_place(":1337", host="::") == ("::", 1337)
    assert parse_place("127.0.0.1:1337", host="::") == ("127.0.0.1", 1337)
    for text in ("1337", "db2:", "db2:0", "db2:65536", "db2:x", ":1337", ""):
        with pytest.raises(UsageError, match="not an address"):
            parse_place(text)
