"""Go's file name patterns."""

import pytest

from walpy.backup.mask import compile_mask
from walpy.errors import UsageError


@pytest.mark.parametrize(
    ("mask", "name", "expected"),
    [
        ("base/1/*", "base/1/1259", True),
        ("base/*", "base/1/1259", False),
        ("*", "PG_VERSION", True),
        ("*", "base/1", False),
        ("base/?/1259*", "base/5/1259_vm", True),
        ("base/?/1259", "base/55/1259", False),
        ("?", "/", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("[a-cx-z9]", "9", True),
        ("[c-a]x", "bx", False),
        ("[^c-a]x", "bx", True),
        (r"\*", "*", True),
        (r"\*", "x", False),
        (r"[\]\-]", "-", True),
        (r"[\]\-]", "]", True),
        ("[[]", "[", True),
        ("[.]", "x", False),
        ("a.b", "axb", False),
        ("a\nb*", "a\nb\nc", True),
        ("a", "a\n", False),
        ("", "", True),
    ],
)
def test_patterns_match_as_in_go(mask: str, name: str, expected: bool) -> None:
    assert (compile_mask(mask).fullmatch(name) is not None) is expected


@pytest.mark.parametrize("mask", ["[", "[]a]", "[a", "[a-", "[-a]", "[a-]", "[^", "a\\", "[\\", "[^]"])
def test_malformed_patterns_are_refused(mask: str) -> None:
    with pytest.raises(UsageError, match="malformed mask"):
        compile_mask(mask)
