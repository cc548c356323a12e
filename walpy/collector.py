"""Python's collector of garbage: how often it looks."""

import gc

# Python's own 700 make it take a twentieth of the start of a command, whose imports make much and leave no garbage.
OBJECTS_UNTIL_COLLECTION = 20_000


def look_seldom() -> None:
    """Make it look more seldom, in this process and those that are forked from it."""
    gc.set_threshold(OBJECTS_UNTIL_COLLECTION, *gc.get_threshold()[1:])
