"""Words for what storages over HTTP say no with: one set, whichever of them it is."""

from collections.abc import Mapping
from typing import Final

from walpy.errors import AccessDenied, StorageFull, StorageThrottled, StorageUnavailable, WalpyError

REASONS: Final[Mapping[type[WalpyError], str]] = {
    AccessDenied: "access denied",
    StorageThrottled: "the server asks to slow down",
    StorageUnavailable: "the server cannot be reached or does not answer properly",
    StorageFull: "no space left, or a quota is used up",
}

SLOW_DOWN: Final = "Try again later; WALPY_STORAGE_DEADLINE says how long walpy goes on trying."
HEALTH: Final = "Check the storage's health and the network; WALPY_STORAGE_DEADLINE says how long walpy goes on trying."


def class_of_code(codes: Mapping[type[WalpyError], str]) -> dict[str, type[WalpyError]]:
    """The class of error for each of a server's codes. codes: of each class, with spaces between them."""
    return {code: kind for kind, words in codes.items() for code in words.split()}
