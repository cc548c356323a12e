"""Names in order, in blocks: the same as sorted(), whatever the names."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walpy.storage import name_blocks
from walpy.storage.name_blocks import in_order

NAMES = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))


@given(NAMES)
def test_small_blocks_of_any_names(names: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name_blocks, "BLOCK", 3)
        assert list(in_order(names)) == sorted(names)


def test_several_blocks() -> None:
    names = [f"{number:024X}.lz4" for number in range(3 * name_blocks.BLOCK + 1)]
    shuffled = random.Random(1).sample(names, len(names))
    assert list(in_order(shuffled)) == names


def test_names_that_are_no_text() -> None:
    odd = ["\udcff", "a", "\udc80"] * name_blocks.BLOCK
    assert list(in_order(odd)) == sorted(odd)
