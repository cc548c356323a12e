"""What the sink holds: an index in memory, bodies in files, one file for each request body that arrived."""

import bisect
import itertools
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Piece:
    """One received body: a file and its size in bytes."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Held:
    """One object: its pieces in order, an opaque tag, and when it was stored (Unix seconds)."""

    pieces: tuple[Piece, ...]
    etag: str
    modified: float

    @property
    def size(self) -> int:
        """Bytes of the whole object."""
        return sum(piece.size for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a listing: keys and common prefixes in order; the last name when there is more."""

    keys: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str = ""
    is_truncated: bool = False


class Store:
    """Objects by "bucket/key"; safe for threads."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._objects: dict[str, Held] = {}
        self._sorted: list[str] | None = []
        self._uploads: dict[str, tuple[str, dict[int, Piece]]] = {}

    def new_file(self) -> Path:
        """Where the next body goes; not created yet."""
        return self._root / f"{next(self._numbers):08x}"

    def put(self, name: str, pieces: tuple[Piece, ...], *, is_new_only: bool) -> Held | None:
        """Make pieces the object; None, and the pieces removed, when is_new_only and there is one already."""
        with self._lock:
            old = self._objects.get(name)
            if old is None or not is_new_only:
                held = Held(pieces, f"{next(self._numbers):032x}", time.time())
                self._objects[name] = held
                self._sorted = self._sorted if old else None
                discarded = old.pieces if old else ()
            else:
                held, discarded = None, pieces
        remove(discarded)
        return held

    def get(self, name: str) -> Held | None:
        """The object, if there is one."""
        return self._objects.get(name)

    def delete(self, name: str) -> None:
        """Forget the object; absence is no error."""
        with self._lock:
            held = self._objects.pop(name, None)
            self._sorted = None
        remove(held.pieces if held else ())

    def forget(self, prefix: str) -> None:
        """Delete every object whose name begins so."""
        for name in [name for name in self._in_order() if name.startswith(prefix)]:
            self.delete(name)

    def start_upload(self, name: str) -> str:
        """Identity of a new multipart upload."""
        identity = f"upload-{next(self._numbers):x}"
        with self._lock:
            self._uploads[identity] = (name, {})
        return identity

    def add_part(self, identity: str, number: int, piece: Piece) -> bool:
        """Keep one part; False, and the piece removed, when there is no such upload."""
        with self._lock:
            upload = self._uploads.get(identity)
            old = upload[1].get(number) if upload else piece
            if upload:
                upload[1][number] = piece
        remove((old,) if old else ())
        return upload is not None

    def finish_upload(self, identity: str, *, is_new_only: bool) -> Held | None:
        """Make the parts, in order of their numbers, the object; None as put(), or without such an upload."""
        with self._lock:
            upload = self._uploads.pop(identity, None)
        if upload is None:
            return None
        name, parts = upload
        return self.put(name, tuple(parts[number] for number in sorted(parts)), is_new_only=is_new_only)

    def abort_upload(self, identity: str) -> bool:
        """Forget an upload and its parts; whether there was one."""
        with self._lock:
            upload = self._uploads.pop(identity, None)
        remove(tuple(upload[1].values()) if upload else ())
        return upload is not None

    def uploads(self, bucket: str) -> list[tuple[str, str]]:
        """(key, identity) of the multipart uploads under way in a bucket."""
        with self._lock:
            named = [(name.partition("/"), identity) for identity, (name, _) in self._uploads.items()]
        return [(key, identity) for (owner, _, key), identity in named if owner == bucket]

    def page(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """Up to limit keys and common prefixes of a bucket behind `after`, in order."""
        names = self._in_order()
        start = max(f"{bucket}/{prefix}", f"{bucket}/{after}")
        page = Page([], [])
        last = ""
        index = bisect.bisect_left(names, start)
        while index < len(names) and names[index].startswith(f"{bucket}/{prefix}"):
            key = names[index].removeprefix(f"{bucket}/")
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            shown = key if end < 0 else key[: end + len(delimiter)]
            # A common prefix stands for all keys that begin with it.
            index = index + 1 if end < 0 else bisect.bisect_left(names, f"{bucket}/{shown}\U0010ffff", index)
            if shown <= after:
                continue
            if len(page.keys) + len(page.prefixes) == limit:
                return Page(page.keys, page.prefixes, last, is_truncated=True)
            (page.keys if end < 0 else page.prefixes).append(shown)
            last = shown
        return Page(page.keys, page.prefixes, last)

    def _in_order(self) -> list[str]:
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self._objects)
            return self._sorted


def remove(pieces: tuple[Piece, ...]) -> None:
    """Delete the files of pieces."""
    for piece in pieces:
        piece.path.unlink(missing_ok=True)
