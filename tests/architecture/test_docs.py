"""The documentation names every setting, command and flag that there is."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from walpy.cli import app
from walpy.settings import IGNORED, KNOWN

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def test_configuration_names_every_setting_that_has_an_effect() -> None:
    named = set(re.findall(r"[A-Z][A-Z0-9_]+", (DOCS / "configuration.md").read_text("utf-8")))
    aliases = {key for key in KNOWN if key.startswith("WALE_") and f"WALG_{key[5:]}" in named}
    assert KNOWN.keys() - IGNORED - named - aliases == set()


def test_configuration_gives_the_defaults_that_are_built_in() -> None:
    text = (DOCS / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| `?([^`|]+?)`? \|", text, re.MULTILINE)
    stated = {key: default for key, default in rows if key in KNOWN and KNOWN[key].default}
    shown = {key: KNOWN[key].default for key in stated}
    assert stated == shown
    assert len(stated) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_cli_names_every_command_and_flag(command: str) -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    assert f"`{command}" in text
    for parameter in COMMANDS[command].params:
        for name in (name for name in parameter.opts if name.startswith("--") and name != "--help"):
            assert name in text
