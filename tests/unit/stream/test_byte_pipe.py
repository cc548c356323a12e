"""Bytes from one thread to another."""

import random
import threading

import pytest

from walpy.errors import StorageUnavailable
from walpy.stream.byte_pipe import HELD_SIZE, BytePipe
from walpy.stream.pieces import PIECE_SIZE


def written(pipe: BytePipe, chunks: list[bytes]) -> threading.Thread:
    """Write and close in another thread."""

    def write() -> None:
        for chunk in chunks:
            pipe.write(chunk)
        pipe.close()

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def some_chunks() -> list[bytes]:
    generator = random.Random(7)
    sizes = [
        0,
        1,
        511,
        PIECE_SIZE,
        PIECE_SIZE + 1,
        0,
        3 * PIECE_SIZE,
        *(generator.randrange(70_000) for _ in range(90)),
    ]
    return [generator.randbytes(size) for size in sizes]


@pytest.mark.parametrize("room", [1000, PIECE_SIZE])
def test_what_is_read_into_buffers_is_what_was_written(room: int) -> None:
    pipe, chunks = BytePipe(), some_chunks()
    thread = written(pipe, chunks)
    got, buffer = bytearray(), bytearray(room)
    while count := pipe.read_into(memoryview(buffer), len(got)):
        got += buffer[:count]
    thread.join()
    assert bytes(got) == b"".join(chunks)
    assert pipe.written_size == len(got)
    assert pipe.read_into(memoryview(buffer), len(got)) == 0


def test_chunks_are_those_that_were_written() -> None:
    pipe, chunks = BytePipe(), some_chunks()
    thread = written(pipe, chunks)
    assert list(pipe.chunks()) == [chunk for chunk in chunks if chunk]
    thread.join()


def test_the_writer_waits_when_nobody_reads() -> None:
    pipe = BytePipe()
    thread = written(pipe, [bytes(PIECE_SIZE)] * (HELD_SIZE // PIECE_SIZE + 2))
    thread.join(0.2)
    assert thread.is_alive()
    assert pipe.written_size <= HELD_SIZE + PIECE_SIZE
    assert sum(map(len, pipe.chunks())) == HELD_SIZE + 2 * PIECE_SIZE
    thread.join()
    assert pipe.seconds_waited > 0


def write_for_ever(pipe: BytePipe) -> None:
    while True:
        pipe.write(bytes(PIECE_SIZE))


def test_the_reader_s_error_meets_a_writer_that_waits() -> None:
    pipe = BytePipe()
    timer = threading.Timer(0.05, pipe.fail, [StorageUnavailable("gone")])
    timer.start()
    with pytest.raises(StorageUnavailable, match="gone"):
        write_for_ever(pipe)
    timer.join()


def test_the_writer_s_error_meets_the_reader_before_the_end() -> None:
    pipe = BytePipe()
    pipe.write(bytes(PIECE_SIZE))
    pipe.fail(StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable, match="gone"):
        pipe.read_into(memoryview(bytearray(10)), 0)
