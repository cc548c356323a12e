"""How errors are shown to a person."""

import os

import pytest

from walpy.errors import StorageError, WalpyError, describe


def caused(message: str, cause: BaseException, hint: str = "") -> WalpyError:
    error = StorageError(message, hint)
    error.__cause__ = cause
    return error


def test_message_cause_and_hint() -> None:
    assert describe(caused("cannot store 'a'", ValueError("odd"), "Do this.")) == "cannot store 'a': odd\nDo this."


@pytest.mark.parametrize("message", ["cannot open 'a': No such file or directory", "open a: no such file or directory"])
def test_an_operating_system_error_is_told_once(message: str) -> None:
    assert describe(caused(message, FileNotFoundError(2, os.strerror(2), "a"))) == message


def test_an_operating_system_error_adds_its_reason_alone() -> None:
    assert describe(caused("cannot open 'a'", PermissionError(13, os.strerror(13), "/x/a"))) == (
        "cannot open 'a': Permission denied"
    )


def test_an_error_without_a_message_is_named() -> None:
    assert describe(KeyError()) == "KeyError"


def test_only_the_first_line_of_a_cause_is_told() -> None:
    assert describe(caused("cannot connect: refused", ValueError("refused\n\tIs it running?"))) == (
        "cannot connect: refused"
    )
    assert describe(caused("cannot connect", ValueError("refused\nmore"))) == "cannot connect: refused"
