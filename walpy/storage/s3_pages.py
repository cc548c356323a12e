"""Pages of S3 listings, read from the text of their XML: an XML parser would take longer than the whole request.

Only what servers really write is understood; anything else (escaped characters, prefixed elements, a wrong count)
raises ValueError, and the SDK reads the listing instead.
"""

import re
from datetime import datetime
from typing import NamedTuple

from walpy.storage.base import StoredObject
from walpy.storage.s3_list import whole_seconds

CONTENTS = r"<Contents>(.*?)</Contents>"
COMMON_PREFIX = r"<CommonPrefixes>(.*?)</CommonPrefixes>"


class Page(NamedTuple):
    """Objects and folders (names without the root), in order; the token of the next page, empty on the last one."""

    objects: list[StoredObject]
    folders: list[str]
    following: str


def parse_page(text: str, root: str) -> Page:
    """Read an answer of ListObjectsV2. root: what all keys begin with. Raises ValueError for what is not plain."""
    contents = re.findall(CONTENTS, text, re.DOTALL)
    prefixes = re.findall(COMMON_PREFIX, text, re.DOTALL)
    count = len(contents) + len(prefixes)
    if "<KeyCount>" in text and int(_field(text, "KeyCount")) != count:
        raise ValueError("a page that does not hold what it says")
    objects = [_object(content, len(root)) for content in contents]
    folders = [_key(content, "Prefix")[len(root) : -1] for content in prefixes]
    truncated = _field(text, "IsTruncated")
    if truncated not in ("true", "false"):
        raise ValueError("a page that does not say whether it is the last one")
    following = _key(text, "NextContinuationToken") if truncated == "true" else ""
    return Page([item for item in objects if item is not None], folders, following)


def _object(content: str, root_length: int) -> StoredObject | None:
    """One object; None for the placeholders that consoles make for folders."""
    key = _key(content, "Key")
    if key.endswith("/"):
        return None
    moment = datetime.fromisoformat(_field(content, "LastModified").replace("Z", "+00:00"))
    return StoredObject(key[root_length:], int(_field(content, "Size")), whole_seconds(moment))


def _key(content: str, name: str) -> str:
    text = _field(content, name)
    if not text or "&" in text:
        raise ValueError(f"{name}: empty, or with escaped characters")
    return text


def _field(content: str, name: str) -> str:
    """Text of an element. Raises ValueError when it is not there."""
    start = content.index(f"<{name}>") + len(name) + 2
    return content[start : content.index(f"</{name}>", start)]
