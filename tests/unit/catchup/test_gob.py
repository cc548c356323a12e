"""gob: what Go wrote is read, what walpy writes is what Go reads, and damage is told."""

from pathlib import Path
from typing import Any

import pytest

from walpy.catchup.gob import BYTES, INT, LARGEST_MESSAGE, Decoder, Encoder, Map, Slice, Struct, Type
from walpy.catchup.wire import COMMAND, CONTROL, FILE_LIST, NO_TIME, Command
from walpy.errors import BackupError, DataCorrupt

GOLDEN = Path(__file__).parents[2] / "golden" / "catchup"


def stream(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def decoder(data: bytes) -> Decoder:
    place = 0

    def read(count: int) -> bytes:
        nonlocal place
        start, place = place, place + count
        if place > len(data):
            raise BackupError("the end")
        return data[start:place]

    return Decoder(read)


def test_what_a_receiver_in_go_says() -> None:
    values = decoder(stream("receiver"))
    assert values.decode() == {
        "SystemIdentifier": 7710819643756261236,
        "CurrentTimeline": 1,
        "Checkpoint": 0x3400060,
    }
    files = values.decode()
    assert list(files) == ["base/5/1259"]
    moment = files["base/5/1259"]["MTime"]
    assert (moment[0], moment[-2:]) == (1, b"\xff\xff")
    assert int.from_bytes(moment[1:9], "big") == 1_700_000_000 + 62_135_596_800
    assert int.from_bytes(moment[9:13], "big") == 123_456_789


def test_what_a_sender_in_go_says() -> None:
    values = decoder(stream("sender"))
    assert Command.from_gob(values.decode()) == Command("IsFull", "base/5/1259", 300)
    assert (values.decode(), values.decode()) == (b"x" * 200, b"y" * 100)
    assert Command.from_gob(values.decode()) == Command("IsIncremental", "base/5/1260", 16)
    assert values.decode() == b"0123456789abcdef"
    assert Command.from_gob(values.decode()) == Command("IsDelete", names=("base/5/7", "base/6"))
    assert Command.from_gob(values.decode()) == Command("IsBinContents", "backup_label", contents=b"label")
    assert Command.from_gob(values.decode()) == Command("IsBinContents", "tablespace_map")
    assert Command.from_gob(values.decode()) == Command("IsDone")
    with pytest.raises(BackupError, match="the end"):
        values.decode()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (CONTROL, {"SystemIdentifier": (1 << 64) - 1, "CurrentTimeline": 7, "Position": 0x80}),
        (FILE_LIST, {"base/5/1259": {"MTime": NO_TIME}, "base/\udcff": {"MTime": NO_TIME, "IsSkipped": True}}),
        (FILE_LIST, {}),
        (COMMAND, {"IsDelete": True, "FilesToDelete": ["a", "b" * 300]}),
        (BYTES, b"x" * 70_000),
        (BYTES, b""),
        (INT, -(1 << 63)),
        (INT, 63),
        (Slice(INT), [0, -1, 1, -64, 64]),
        (Map("", INT, Struct("S", (("A", INT), ("B", INT)))), {1: {"B": -5}, 2: {}}),
    ],
)
def test_what_is_written_is_read(kind: Type, value: Any) -> None:
    encoder = Encoder()
    first, second = encoder.encode(kind, value), encoder.encode(kind, value)
    assert len(second) <= len(first)  # types are defined once
    values = decoder(first + second)
    assert (values.decode(), values.decode()) == (value, value)


def test_commands_are_written_as_go_writes_them() -> None:
    """All but the numbers of types, which each stream gives out as it likes."""
    encoder = Encoder()
    encoder.encode(COMMAND, Command("IsDone").to_gob())
    command = Command("IsFull", "base/5/1259", 300)
    assert encoder.encode(COMMAND, command.to_gob())[3:] in stream("sender")
    assert encoder.encode(BYTES, b"x" * 200) in stream("sender")


@pytest.mark.parametrize("name", ["receiver", "sender"])
def test_every_cut_and_every_flipped_bit_ends_in_a_word(name: str) -> None:
    data = stream(name)
    for place in range(len(data)):
        with pytest.raises((BackupError, DataCorrupt)):
            drain(decoder(data[:place]))
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        with pytest.raises((BackupError, DataCorrupt)):
            drain(decoder(bytes(flipped)))


def drain(values: Decoder) -> None:
    while True:
        values.decode()


@pytest.mark.parametrize(
    "value", [None, b"x", {}, {"IsFull": True, "IsDelete": True}, {"FileName": "x"}, {"IsDone": False}]
)
def test_what_is_no_command(value: object) -> None:
    with pytest.raises(DataCorrupt, match="no command"):
        Command.from_gob(value)


def test_a_message_has_its_limit() -> None:
    with pytest.raises(DataCorrupt, match=f"a message of {LARGEST_MESSAGE + 1} bytes"):
        decoder(b"\xfc" + (LARGEST_MESSAGE + 1).to_bytes(4, "big")).decode()
