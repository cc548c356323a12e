"""typer commands that speak of wrong usage in the words of WAL-G (and cobra, the library it uses)."""

import difflib
import sys
from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from walpy.archive import Archive, open_stored
from walpy.cli_invocation import Invocation
from walpy.values import parse_boolean

# The error for wrong usage of every version of typer, whether it brings its own click or not.
ParserError: type[Exception] = typer.BadParameter.__mro__[1]


class Command(TyperCommand):
    """Counts arguments as cobra does, and takes `--flag=true` and `--flag=false` for every boolean flag."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's own kind
        """Parse, or raise ParserError in cobra's words."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        arguments = [parameter for parameter in self.params if parameter.param_type_name == "argument"]
        ctx.allow_extra_args = True  # counted here
        try:
            extra = super().parse_args(ctx, self._plain_booleans(ctx, args))
            received = len(arguments) + len(extra)
        except typer.BadParameter as error:
            if error.param not in arguments or not hasattr(error, "param_type"):  # a wrong value, not a missing one
                raise
            received = sum(bool(ctx.params.get(argument.name or "")) for argument in arguments)
            extra = [""]
        if extra and not arguments:
            ctx.fail(f'unknown command "{extra[0]}" for "{ctx.command_path}"')
        if extra:
            required = sum(argument.required for argument in arguments)
            ctx.fail(f"accepts {_count(required, len(arguments))} arg(s), received {received}")
        return extra

    def _plain_booleans(self, ctx: typer.Context, args: list[str]) -> list[str]:
        flags = {name for parameter in self.params if getattr(parameter, "is_flag", False) for name in parameter.opts}
        plain: list[str] = []
        for position, argument in enumerate(args):
            if argument == "--":
                return plain + args[position:]
            name, equals, value = argument.partition("=")
            if not equals or name not in flags:
                plain.append(argument)
                continue
            try:
                plain.extend([name] if parse_boolean(value) else [])
            except ValueError as error:
                ctx.fail(f"invalid argument {value!r} for {name}: {error}")
        return plain


class Group(TyperGroup):
    """Says which command is unknown, and which one may be meant."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's own kind
        """Parse; flags of the commands below may stand before their names, as in cobra."""
        if ctx.parent is None or ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        return super().parse_args(ctx, self._flags_last(args))

    def _flags_last(self, args: list[str]) -> list[str]:
        options = {name: option for option in _options_below(self) for name in option.opts}
        position = 0
        while position < len(args) and args[position].startswith("-"):
            name, equals, _ = args[position].partition("=")
            has_value = bool(equals)
            if not name.startswith("--"):
                name, has_value = name[:2], len(args[position]) > 2
            if name not in options:
                return args
            position += 1 if has_value or getattr(options[name], "is_flag", False) else 2
        return args[position : position + 1] + args[:position] + args[position + 1 :] if position < len(args) else args

    def resolve_command(self, ctx: typer.Context, args: list[str]):  # type: ignore[no-untyped-def,override]
        """Find the command, or raise ParserError in cobra's words."""
        if not ctx.resilient_parsing and args[0] not in self.commands:
            ctx.fail(f'unknown command "{args[0]}" for "{ctx.command_path}"' + self._advice(args[0]))
        return super().resolve_command(ctx, args)

    def _advice(self, name: str) -> str:
        visible = [command for command, item in self.commands.items() if not item.hidden]
        near = difflib.get_close_matches(name, visible)
        return "\n\nDid you mean this?" + "".join(f"\n\t{command}" for command in near) if near else ""


def _options_below(group: TyperGroup) -> Iterator[TyperOption]:
    for command in group.commands.values():
        if isinstance(command, TyperGroup):
            yield from _options_below(command)
        yield from (item for item in command.params if isinstance(item, TyperOption))


def _count(least: int, most: int) -> str:
    if least == most:
        return str(most)
    return f"between {least} and {most}" if least else f"at most {most}"


def show_usage_error(error: Exception) -> None:
    """Print `Error: ...` and the command's usage to stderr, as cobra does; nothing to stdout."""
    context = getattr(error, "ctx", None)
    message = _message(error)
    lines = [f"Error: {message}"]
    path = context.command_path if context else "walpy"
    if context and "unknown command" not in message:
        lines.append(context.get_usage())
    lines.append(f"Run '{path} --help' for usage.")
    sys.stderr.write("\n".join(lines) + "\n")


def _message(error: Exception) -> str:
    option = str(getattr(error, "option_name", ""))
    if not option:
        return str(error.format_message()) if isinstance(error, typer.BadParameter) else str(error)
    if not hasattr(error, "possibilities"):  # the option is known, its value missing or too much
        return f"flag needs an argument: {option}"
    if option.startswith("--"):
        return f"unknown flag: {option}"
    return f"unknown shorthand flag: {option[1:2]!r} in {option}"


def separate_archives(ctx: typer.Context, source: str, target: str) -> tuple[Archive, Archive]:
    """The archives that --from and --to name, for objects as they are stored. Raises ConfigError."""
    missing = [f'"{flag}"' for flag, value in (("from", source), ("to", target)) if not value]
    if missing:
        ctx.fail(f"required flag(s) {', '.join(missing)} not set")
    invocation = ctx.ensure_object(Invocation)
    return open_stored(invocation.load_separate(source)), open_stored(invocation.load_separate(target))
