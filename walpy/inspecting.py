"""What `walpy st inspect` prints: one stored object's kind, and whether the keys in hand open it.

Memory: INSPECTED_SIZE, as it is and decrypted; a larger object is opened as far as that goes.
"""

from typing import Final, NamedTuple

from walpy.archive import Archive
from walpy.errors import ObjectMissing, StorageError, WalpyError, describe
from walpy.storage.base import join
from walpy.stream.identify import HEAD_SIZE, Found, identify

INSPECTED_SIZE: Final = 1 << 20  # bytes that are read and decrypted: many frames of any cipher


class _Opening(NamedTuple):
    """What the configured cipher made of an object: a line for people, and the plain bytes it gave."""

    line: str
    plain: bytes


def inspect_object(archive: Archive, name: str) -> str:
    """Lines `key: value` about one object. Raises StorageError; a key that does not fit is a line, no error."""
    try:
        with archive.storage.open(join(name), size=INSPECTED_SIZE) as reader:
            content = b"".join(bytes(chunk) for chunk in reader)
        size = archive.storage.stat(join(name)).size
    except ObjectMissing:
        raise StorageError(f'inspect "{name}": there is no such object in {archive.storage.url}') from None
    found = identify(content[:HEAD_SIZE])
    lines = [("object", join(name)), ("size", str(size)), ("stored as", found.text)]
    if not found.codec:
        opening = _open(archive, content, is_whole=size == len(content))
        lines.append(("keys in hand", opening.line))
        if opening.plain:
            lines.append(("decrypted", _codec_of(identify(opening.plain[:HEAD_SIZE]))))
    elif archive.config.encryption_settings():
        lines.append(("keys in hand", "not needed: it is not encrypted"))
    return "".join(f"{key}: {value}\n" for key, value in lines)


def _open(archive: Archive, content: bytes, *, is_whole: bool) -> _Opening:
    try:
        cipher = archive.cipher
        if cipher is None:
            return _Opening("none are set", b"")
        decryptor = cipher.decryptor()
        plain = bytes(decryptor.update(content))
        if is_whole:
            plain += bytes(decryptor.finish())
    except WalpyError as error:
        return _Opening(f"do not open it: {describe(error).replace(chr(10), '. ')}", b"")
    extent = "all of it" if is_whole else f"its first {len(content)} bytes, which is as far as this looked"
    return _Opening(f"{cipher.name} opens {extent}", plain)


def _codec_of(found: Found) -> str:
    return found.codec or "no mark of a codec"
