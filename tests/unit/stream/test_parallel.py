"""Objects that several threads encode and decode."""

import os
import threading
from collections.abc import Iterable
from itertools import pairwise

import pytest

from walpy.errors import DataCorrupt, WalpyError
from walpy.stream.codecs import METHODS, Codec, codec
from walpy.stream.parallel import Helpers
from walpy.stream.pieces import EmptyTail, PieceFormat

PIECE = 4096
DIVISIBLE = [known for known in METHODS.values() if known.piece_module]


class Source:
    """Bytes in memory; fails_at: the offset from which reading fails."""

    def __init__(self, content: bytes, fails_at: int | None = None) -> None:
        self.size = len(content)
        self._content = content
        self._fails_at = fails_at

    def chunks(self) -> Iterable[bytes]:
        return [self._content]

    def read_into(self, buffer: memoryview, offset: int) -> int:
        if offset == self._fails_at:
            raise WalpyError("disk")
        piece = self._content[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)


def content(size: int) -> bytes:
    """Half noise, half text, so that some pieces do not compress."""
    return (os.urandom(size // 2) + b"walpy " * size)[:size]


def encoded(helpers: Helpers, known: Codec, plain: bytes, piece_size: int = PIECE) -> bytes:
    form = known.pieces
    assert form is not None
    return b"".join(bytes(chunk) for chunk in helpers.encode(form, Source(plain), piece_size))


def helper_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("piece-")]


def wait_for_helpers() -> None:
    for thread in helper_threads():
        thread.join(10)


@pytest.mark.parametrize("helper_count", [0, 1, 3])
@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 7 * PIECE, 20 * PIECE + 17])
@pytest.mark.parametrize("known", DIVISIBLE, ids=lambda known: known.name)
def test_what_threads_encode_any_reader_decodes(known: Codec, size: int, helper_count: int) -> None:
    plain = content(size)
    helpers = Helpers(helper_count)
    stored = encoded(helpers, known, plain)
    assert stored == encoded(Helpers(0), known, plain)
    if size or known.name != "zstd":  # a file without bytes has no zstd frame: nobody stores one
        assert b"".join(known.decode([stored])) == plain
        assert b"".join(helpers.decode(known, [stored[:5], stored[5:]])) == plain
    wait_for_helpers()
    assert helper_threads() == []


@pytest.mark.parametrize("known", METHODS.values(), ids=lambda known: known.name)
def test_what_one_thread_encoded_is_decoded(known: Codec) -> None:
    encoder = known.encoder()
    plain = content(3 << 20)
    stored = encoder.update(plain) + encoder.finish()
    assert b"".join(Helpers(2).decode(known, [stored])) == plain


@pytest.mark.parametrize("known", [codec("lz4"), codec("zstd")], ids=lambda known: known.name)
@pytest.mark.parametrize(("piece_size", "is_helped"), [(PIECE, False), (1 << 20, True)])
def test_helpers_decode_what_is_worth_a_hand_over(known: Codec, piece_size: int, is_helped: bool) -> None:
    plain = content(6 * piece_size)
    helpers = Helpers(2)
    chunks = helpers.decode(known, [encoded(Helpers(0), known, plain, piece_size)])
    first = next(chunks)
    free = helpers.take()
    helpers.give_back(free)
    assert free == (0 if is_helped else 2)
    assert first + b"".join(chunks) == plain
    assert helpers.take() == 2


@pytest.mark.parametrize("known", [codec("lz4"), codec("zstd")], ids=lambda known: known.name)
@pytest.mark.parametrize("piece_size", [PIECE, 1 << 20])
@pytest.mark.parametrize("damage", ["cut", "flipped", "more"])
def test_damage_is_noticed(known: Codec, piece_size: int, damage: str) -> None:
    stored = bytearray(encoded(Helpers(1), known, content(5 * piece_size), piece_size))
    if damage == "flipped":
        stored[len(stored) // 2] ^= 0x10
    broken = {"cut": stored[:-3], "flipped": stored, "more": stored + b"more"}[damage]
    with pytest.raises(DataCorrupt):
        list(Helpers(1).decode(known, [bytes(broken)]))


def test_pieces_keep_their_order_when_a_later_one_is_finished_first() -> None:
    second_is_done = threading.Event()

    def encode(piece: bytes | memoryview) -> bytes:
        if piece[0] == 1:
            assert second_is_done.wait(10)
        if piece[0] == 2:
            second_is_done.set()
        return bytes(piece)

    form = PieceFormat(PIECE, b"", encode, EmptyTail)
    plain = b"".join(bytes([number]) * PIECE for number in range(1, 9))
    found = b"".join(bytes(chunk) for chunk in Helpers(1).encode(form, Source(plain), PIECE))
    assert found == plain


@pytest.mark.parametrize("helper_count", [0, 2])
def test_a_source_that_fails_ends_the_object(helper_count: int) -> None:
    form = codec("lz4").pieces
    assert form is not None
    helpers = Helpers(helper_count)
    given: list[object] = []
    with pytest.raises(WalpyError, match="disk"):
        given.extend(helpers.encode(form, Source(content(20 * PIECE), fails_at=12 * PIECE), PIECE))
    assert len(given) <= 13  # the head and twelve pieces: no end mark
    assert helpers.take() == helper_count


@pytest.mark.parametrize("helper_count", [0, 1])
def test_a_piece_that_fails_in_any_thread_fails_the_object(helper_count: int) -> None:
    def encode(piece: bytes | memoryview) -> bytes:
        if piece[0] == 5:
            raise DataCorrupt("piece five")
        return bytes(piece)

    form = PieceFormat(PIECE, b"", encode, EmptyTail)
    plain = b"".join(bytes([number]) * PIECE for number in range(1, 12))
    with pytest.raises(DataCorrupt, match="five"):
        list(Helpers(helper_count).encode(form, Source(plain), PIECE))


def test_an_object_that_is_given_up_frees_its_helpers() -> None:
    form = codec("lz4").pieces
    assert form is not None
    helpers = Helpers(2)
    chunks = helpers.encode(form, Source(content(50 * PIECE)), PIECE)
    next(chunks), next(chunks)
    assert helpers.take() == 0
    helpers.give_back(0)
    chunks.close()
    assert helpers.take() == 2
    wait_for_helpers()
    assert helper_threads() == []


def test_objects_under_way_share_the_helpers() -> None:
    helpers = Helpers(1)
    known = codec("lz4")
    plain = [content(30 * PIECE) for _ in range(6)]
    stored: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda n=n: stored.__setitem__(n, encoded(helpers, known, plain[n]))) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"".join(known.decode([stored[n]])) for n in range(6)] == plain
    assert helpers.take() == 1


def test_a_file_of_one_piece_needs_no_helper() -> None:
    form = codec("lz4").pieces
    assert form is not None
    helpers = Helpers(1)
    for _ in helpers.encode(form, Source(content(PIECE)), PIECE):
        assert helpers.take() == 1
        helpers.give_back(1)


def test_buffers_are_not_used_again_before_their_piece_is_out() -> None:
    """Each piece holds its number alone: a buffer that was filled too early would show in the one before."""
    slow = threading.Event()

    def encode(piece: bytes | memoryview) -> bytes:
        slow.wait(0.001)
        return bytes(piece)

    form = PieceFormat(PIECE, b"", encode, EmptyTail)
    plain = b"".join(bytes([number]) * PIECE for number in range(60))
    pieces = [bytes(chunk) for chunk in Helpers(3).encode(form, Source(plain), PIECE)][1:-1]
    assert all(second[0] == first[0] + 1 and len(set(second)) == 1 for first, second in pairwise(pieces))
