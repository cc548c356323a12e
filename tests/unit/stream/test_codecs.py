"""Codecs by name and extension; what real archives hold; what damaged objects lead to."""

import hashlib
import json
import lzma
import pickle
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.require import missing
from walpy.config import Config
from walpy.errors import ConfigError, DataCorrupt
from walpy.storage.base import READ_SIZE, Chunk
from walpy.stream.codecs import READ_EXTENSIONS, Codec, codec, codec_for_extension
from walpy.stream.transform import pump

GOLDEN = Path(__file__).parents[2] / "golden" / "codecs"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
METHODS = ("lz4", "zstd", "brotli", "lzma", "none")
PACKED = ("lz4", "zstd", "brotli", "lzma")
TEXT = b"".join(b"%d,row,%d\n" % (number, number * 7919 % 10007) for number in range(60_000))


def gzip_member(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=31)
    return compressor.compress(data) + compressor.flush()


def encoded(method: str, data: bytes) -> bytes:
    encoder = codec(method).encoder()
    return encoder.update(data) + encoder.finish()


def decoded(extension: str, data: bytes, size: int = 64 << 10) -> bytes:
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(pump(chunks, [codec_for_extension(extension).decoder()]))


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_stored_objects_are_read(name: str, size: int) -> None:
    plain = decoded(name.rpartition(".")[2], (GOLDEN / name).read_bytes(), size)
    assert {"size": len(plain), "sha256": hashlib.sha256(plain).hexdigest()} == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_truncated_objects_are_refused(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    for length in range(len(data)):
        with pytest.raises(DataCorrupt):
            decoded(name.rpartition(".")[2], data[:length])


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("more", [b"\0", b"\0" * 600, b"garbage behind the end"])
def test_data_behind_the_end_are_refused(name: str, more: bytes) -> None:
    data = (GOLDEN / name).read_bytes()
    for size in (len(data), len(data) + len(more)):  # behind the end in a chunk of its own, and in the same one
        with pytest.raises(DataCorrupt):
            decoded(name.rpartition(".")[2], data + more, size)


def test_lzma_does_not_lose_a_second_stream() -> None:
    with pytest.raises(DataCorrupt, match="other data follow"):
        decoded("lzma", encoded("lzma", b"one") + encoded("lzma", b"two"))


@pytest.mark.parametrize("extension", ["lz4", "zst", "gz"])
def test_streams_in_a_row_are_read_completely(extension: str) -> None:
    make = {"lz4": lambda data: encoded("lz4", data), "zst": lambda data: encoded("zstd", data), "gz": gzip_member}
    data = b"".join(make[extension](part) for part in (b"one ", b"", TEXT, b"two"))
    assert decoded(extension, data) == b"one " + TEXT + b"two"


@pytest.mark.parametrize("extension", ["lz4", "zst"])
def test_skippable_frames_are_passed_over(extension: str) -> None:
    method = codec_for_extension(extension).name
    skippable = bytes.fromhex("5a2a4d18") + (300).to_bytes(4, "little") + bytes(300)
    data = skippable + encoded(method, b"one ") + skippable + encoded(method, b"two") + skippable
    assert decoded(extension, data, 5) == b"one two"


@pytest.mark.parametrize("method", METHODS)
def test_what_an_empty_file_becomes(method: str) -> None:
    expected = {
        "lz4": "04224d186470b900000000055dcc02",
        "zstd": "28b52ffd040001000099e9d851",
        "brotli": "3b",
        "lzma": "5d00008000ffffffffffffffff0083fffbffffc0000000",
        "none": "",
    }
    data = encoded(method, b"")
    assert decoded(codec(method).extension, data) == b""
    if method == "zstd":  # the window descriptor depends on the level
        data = data[:5] + b"\0" + data[6:]
    assert data.hex() == expected[method]


def test_headers_are_those_that_wal_g_writes() -> None:
    assert encoded("lz4", b"a").hex() == "04224d186470b901000080610000000056740d55"
    assert encoded("lz4", TEXT)[:7].hex() == "04224d186470b9"
    assert encoded("lzma", TEXT)[:13].hex() == "5d00008000ffffffffffffffff"
    assert encoded("zstd", TEXT)[4] == 0x04  # a checksum, no content size
    assert encoded("brotli", TEXT)[0] & 0x0F == 0x0B  # a window of 22 bits


@pytest.mark.parametrize("extension", [extension for extension in READ_EXTENSIONS if extension])
def test_an_empty_object_is_refused(extension: str) -> None:
    with pytest.raises(DataCorrupt, match=r"^no "):
        codec_for_extension(extension).decoder().finish()


@pytest.mark.parametrize("extension", [extension for extension in READ_EXTENSIONS if extension])
def test_other_data_are_refused(extension: str) -> None:
    with pytest.raises(DataCorrupt):
        decoded(extension, b"not compressed at all, and long enough for every header")


@pytest.mark.parametrize("extension", ["br", "gz", "lz4", "lzma", "zst"])
def test_memory_stays_bounded_whatever_data_inflate_to(extension: str) -> None:
    zeros = bytes(64 << 20)
    data = gzip_member(zeros) if extension == "gz" else encoded(codec_for_extension(extension).name, zeros)
    sizes = [len(piece) for piece in codec_for_extension(extension).decode([data])]
    assert sum(sizes) == len(zeros)
    assert max(sizes) <= 4 * READ_SIZE


@pytest.mark.parametrize("method", METHODS)
def test_encoders_do_not_keep_chunks(method: str) -> None:
    buffer = bytearray(8192)

    def reused() -> Iterator[Chunk]:
        for number in range(100):
            buffer[:] = bytes([number]) * 8192
            yield memoryview(buffer)

    data = b"".join(bytes(chunk) for chunk in pump(reused(), [codec(method).encoder()]))
    assert decoded(codec(method).extension, data) == b"".join(bytes([number]) * 8192 for number in range(100))


def test_lzma_dictionaries_beyond_the_memory_limit_are_refused() -> None:
    header = bytes([0x5D]) + (3 << 30).to_bytes(4, "little") + b"\xff" * 8
    with pytest.raises(DataCorrupt) as refused:
        decoded("lzma", header + bytes(100))
    assert isinstance(refused.value.__cause__, lzma.LZMAError)


def test_lzma_dictionaries_of_any_size_are_read() -> None:
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 0, "dict_size": (24 << 20) + 4096}]
    data = lzma.compress(TEXT, format=lzma.FORMAT_ALONE, filters=filters)
    assert decoded("lzma", data) == TEXT


@pytest.mark.parametrize(("window", "readable"), [(0x98, True), (0xA0, False)])
def test_zstd_windows_up_to_512_mib_are_read(window: int, readable: bool) -> None:
    empty = bytes.fromhex("28b52ffd00") + bytes([window]) + bytes.fromhex("010000")
    if readable:
        assert decoded("zst", empty) == b""
    else:
        with pytest.raises(DataCorrupt):
            decoded("zst", empty)


def test_unknown_methods_name_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"Unknown compression method: 'rar', supported methods are: \[lz4 lzma none "
    ):
        codec("rar")
    with pytest.raises(DataCorrupt, match="'rar'"):
        codec_for_extension("rar")


@pytest.mark.parametrize("name", ["gzip", "lzop"])
def test_formats_for_reading_only(name: str) -> None:
    found = codec_for_extension({"gzip": "gz", "lzop": "lzo"}[name])
    assert (found.name, found.pieces) == (name, None)
    with pytest.raises(ConfigError, match="for reading only"):
        found.encoder()
    with pytest.raises(ConfigError):
        codec(name)


def test_parts_without_a_codec_are_stored_as_they_are() -> None:
    assert codec_for_extension("tar") == codec_for_extension("") == codec("none")


@pytest.mark.parametrize(("level", "number"), [("fastest", 1), ("Default", 2), ("BETTER", 7), ("best", 11)])
def test_zstd_levels(level: str, number: int) -> None:
    config = Config.from_mapping({"WALG_ZSTD_LEVEL": level})
    assert codec("zstd", config).level == number


def test_the_zstd_level_goes_with_zstd_alone() -> None:
    with pytest.raises(ConfigError, match="compression method is lz4"):
        codec("lz4", Config.from_mapping({"WALG_ZSTD_LEVEL": "best"}))
    with pytest.raises(ConfigError, match="unknown value 'huge'"):
        codec("zstd", Config.from_mapping({"WALG_ZSTD_LEVEL": "huge"}))


def test_codecs_travel_to_worker_processes() -> None:
    found = codec("zstd", Config.from_mapping({"WALG_ZSTD_LEVEL": "best"}))
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize("method", METHODS)
def test_only_the_chosen_library_is_imported(method: str) -> None:
    libraries = {"lz4": "lz4", "zstd": "zstandard", "brotli": "brotli", "lzma": "lzma", "none": None}
    program = (
        "import sys; from walpy.stream.codecs import codec; codec(sys.argv[1]).decoder();"
        "print(*{'lz4', 'zstandard', 'brotli', 'lzma', 'lzallright', 'numpy', 'subprocess'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program, method], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {libraries[method]} - {None}


@pytest.mark.parametrize(("tool", "method"), [("lz4", "lz4"), ("zstd", "zstd"), ("xz", "lzma"), ("brotli", "brotli")])
def test_tools_read_what_is_written_here(tool: str, method: str) -> None:
    options = ["--format=lzma"] if tool == "xz" else []
    assert run_tool(tool, "-dc", *options, data=encoded(method, TEXT)) == TEXT
    assert run_tool(tool, "-dc", *options, data=encoded(method, b"")) == b""


@pytest.mark.parametrize(
    ("tool", "options", "extension"),
    [
        ("lz4", ["-9"], "lz4"),
        ("lz4", ["-BD", "-B4"], "lz4"),
        ("lz4", ["-BX", "--no-frame-crc"], "lz4"),
        ("zstd", ["-3"], "zst"),
        ("zstd", ["-19", "--long=27", "--no-check"], "zst"),
        ("gzip", ["-9"], "gz"),
        ("xz", ["--format=lzma", "-6"], "lzma"),
        ("lzop", ["-3"], "lzo"),
        ("brotli", ["-q", "5"], "br"),
    ],
)
def test_what_tools_write_is_read(tool: str, options: list[str], extension: str) -> None:
    assert decoded(extension, run_tool(tool, "-c", *options, data=TEXT)) == TEXT


def run_tool(tool: str, *options: str, data: bytes) -> bytes:
    """Output of a compression program; skips when it is not installed."""
    if shutil.which(tool) is None:
        missing(tool, f"no {tool} here")
    return subprocess.run([tool, *options], input=data, capture_output=True, check=True).stdout


def test_codec_is_a_value() -> None:
    assert codec("lz4") == Codec("lz4", "lz4", "walpy.stream.lz4_frame", piece_module="walpy.stream.lz4_pieces")
