"""Codecs: WAL-G's compression methods by name and by extension; each library is imported on use.

Every decoder refuses an empty object, a truncated one and data behind the end (but for `none`, which cannot tell).
Damage within the data is noticed wherever the format has checksums: lz4 and zstd as written here, gzip, lzop; brotli
and lzma have none.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from walpy.errors import ConfigError, DataCorrupt
from walpy.stream.library import Decoder, decode
from walpy.stream.pieces import PieceFormat, PieceTail
from walpy.stream.transform import Transform
from walpy.stream.units import Source, Unit

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.storage.base import Chunk

__all__ = ["READ_EXTENSIONS", "Codec", "PieceFormat", "PieceTail", "codec", "codec_for_extension"]

READ_EXTENSIONS = ("lz4", "lzma", "gz", "", "br", "lzo", "zst")  # WAL-G's order of probing

# Level 2 stores what WAL-G's default does, within a percent of the size, in 60 % of level 3's time (measured).
ZSTD_LEVELS = {"fastest": 1, "default": 2, "better": 7, "best": 11}
ZSTD_LEVEL_KEY = "WALG_ZSTD_LEVEL"


class CodecModule(Protocol):
    """What the module of a codec offers: encoder if it writes."""

    def encoder(self, level: int) -> Transform: ...

    def decoder(self) -> Decoder: ...


class PieceModule(Protocol):
    """What the module offers that cuts objects of a codec into pieces, on writing and on reading."""

    def pieces(self, level: int) -> PieceFormat: ...

    def units(self, source: Source) -> Iterator[Unit]: ...


class Codec(NamedTuple):
    """One compression format; picklable, safe for threads.

    name: WAL-G's name of the method. extension: of objects, without a dot; empty for `none`.
    """

    name: str
    extension: str
    module: str
    level: int = 0
    writes: bool = True
    piece_module: str = ""  # empty: not divisible

    def encoder(self) -> Transform:
        """A fresh compressor. Raises ConfigError when the format is for reading only."""
        if not self.writes:
            raise ConfigError(f"{self.name} is for reading only", f"Choose one of {', '.join(METHODS)}.")
        return self._module().encoder(self.level)

    def decoder(self) -> Decoder:
        """A fresh decompressor, which raises DataCorrupt; feed it little at a time where memory matters."""
        return self._module().decoder()

    def decode(self, chunks: "Iterable[Chunk]") -> Iterator[bytes]:
        """Decompress a stream in pieces of about 1 MiB, whatever the chunks inflate to. Raises DataCorrupt."""
        return decode(self.decoder(), chunks)

    @property
    def pieces(self) -> PieceFormat | None:
        """How several threads write one object; None when the format cannot be put together from pieces."""
        return self._piece_module().pieces(self.level) if self.piece_module else None

    @property
    def units(self) -> "Callable[[Source], Iterator[Unit]] | None":
        """How several threads read one object: what cuts it; None when the format cannot be cut."""
        return self._piece_module().units if self.piece_module else None

    def _piece_module(self) -> PieceModule:
        return cast("PieceModule", import_module(self.piece_module))

    def _module(self) -> CodecModule:
        return cast("CodecModule", import_module(self.module))


METHODS = {
    "lz4": Codec("lz4", "lz4", "walpy.stream.lz4_frame", piece_module="walpy.stream.lz4_pieces"),
    "lzma": Codec("lzma", "lzma", "walpy.stream.lzma_alone", level=1),  # preset 1: faster and smaller than WAL-G
    "none": Codec("none", "", "walpy.stream.identity", piece_module="walpy.stream.identity"),
    "brotli": Codec("brotli", "br", "walpy.stream.brotli_stream", level=3),
    "zstd": Codec(
        *("zstd", "zst", "walpy.stream.zstd_frames"),
        level=ZSTD_LEVELS["default"],
        piece_module="walpy.stream.zstd_frames",
    ),
}
READ_ONLY = (
    Codec("gzip", "gz", "walpy.stream.gzip_members", writes=False),
    Codec("lzop", "lzo", "walpy.stream.lzop", writes=False),
)
BY_EXTENSION = {known.extension: known for known in (*METHODS.values(), *READ_ONLY)}


def codec(method: str, config: "Config | None" = None) -> Codec:
    """The codec of a method, with the level that config sets.

    method: WAL-G's name, case-sensitive. Raises ConfigError for an unknown one or a wrong WALG_ZSTD_LEVEL.
    """
    if method not in METHODS:
        raise ConfigError(f"Unknown compression method: {method!r}, supported methods are: [{' '.join(METHODS)}]")
    found = METHODS[method]
    if config is None or not config.is_set(ZSTD_LEVEL_KEY):
        return found
    if method != "zstd":
        raise ConfigError(
            f"{ZSTD_LEVEL_KEY} (from {config.origin(ZSTD_LEVEL_KEY)}) is set, and the compression method is {method}",
            f"Unset {ZSTD_LEVEL_KEY}, or set WALG_COMPRESSION_METHOD to zstd.",
        )
    return found._replace(level=_zstd_level(config))


def codec_for_extension(extension: str) -> Codec:
    """The codec that reads objects with an extension; empty and `tar`: stored as they are.

    Raises DataCorrupt for an extension that no codec has.
    """
    found = BY_EXTENSION.get("" if extension == "tar" else extension)
    if found is None:
        raise DataCorrupt(f"no codec reads the file format {extension!r}")
    return found


def _zstd_level(config: "Config") -> int:
    value = config.text(ZSTD_LEVEL_KEY)
    level = ZSTD_LEVELS.get(value.lower())
    if level is None:
        raise ConfigError(
            f"{ZSTD_LEVEL_KEY} (from {config.origin(ZSTD_LEVEL_KEY)}) has the unknown value {value!r}",
            f"Use one of {', '.join(ZSTD_LEVELS)}.",
        )
    return level
