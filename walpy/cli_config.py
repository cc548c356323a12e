"""`walpy config`: shows the settings that are in force and where each comes from."""

import json as json_module
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from walpy.cli_invocation import Invocation, print_result
from walpy.cli_usage import Command
from walpy.config import Config
from walpy.settings import IGNORED, KNOWN, is_ignored, known

app = typer.Typer(help="Show the configuration.", invoke_without_command=True, rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting for people: a secret's value is masked; problem tells why the value has no effect."""

    key: str
    value: str
    origin: str
    problem: str = ""


@app.callback()
def _without_command(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print_result(ctx.get_help() + "\n")


@app.command("show", cls=Command)
def show(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the settings in force, built-in defaults included; secrets are masked."""
    rows = list(settings_in_force(ctx.ensure_object(Invocation).load()))
    print_result(as_json(rows) if json else as_table(rows))


def settings_in_force(config: Config) -> Iterator[Row]:
    """Every setting with a value, sorted by key; defaults only of those that walpy acts on."""
    for key in sorted(config.settings.keys() | KNOWN.keys() - IGNORED):
        if config.text(key):
            yield Row(key, config.shown(key), config.origin(key), _problem(config, key))


def as_json(rows: list[Row]) -> str:
    """A JSON array with one object a setting, in one line each."""
    return "[\n" + ",\n".join(json_module.dumps(asdict(row), ensure_ascii=False) for row in rows) + "\n]\n"


def as_table(rows: list[Row]) -> str:
    """Columns key, value and origin; a value's line breaks are shown as \\n."""
    cells = [("setting", "value", "origin"), *((row.key, _one_line(row.value), _origin(row)) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in (0, 1)]
    return "".join(f"{key:{widths[0]}} {value:{widths[1]}} {origin}\n" for key, value, origin in cells)


def _problem(config: Config, key: str) -> str:
    entry = known(key)
    if entry is None:
        return "unknown key"
    try:
        entry.parse(config.text(key))
    except ValueError as error:
        return str(error)
    return "not used by walpy" if is_ignored(key) else ""


def _origin(row: Row) -> str:
    return f"{row.origin} ({row.problem})" if row.problem else row.origin


def _one_line(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n") if "\n" in value else value
