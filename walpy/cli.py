"""The command line: which commands there are, and how a command ends.

The commands' bodies are in cli_commands; flags that any command takes (`--config`, `--turbo`, one per setting) are
taken out of the command line before typer sees it, so they may stand anywhere.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import walpy
from walpy import cli_archive, cli_catchup, cli_commands, cli_config, cli_daemon, cli_delete, cli_pgbackrest, cli_st
from walpy.cli_invocation import Invocation, print_result, told
from walpy.cli_usage import Command, Group, ParserError, show_usage_error
from walpy.config import split_setting_flags
from walpy.errors import UsageError
from walpy.logs import start_logging
from walpy.settings import ALIASES_WITH_FLAG, KNOWN, flag_of, has_flag

PROGRAM = "walpy"

app = typer.Typer(
    name=PROGRAM,
    cls=Group,
    help="PostgreSQL archiver: base backups and WAL in WAL-G's formats, on S3, GCS or a file system.",
    epilog="Settings come from flags, the environment and a configuration file, in this order; 'walpy config show' "
    "tells which are in force. Every setting is a flag too, such as --walg-s3-prefix: 'walpy flags' lists them.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@app.callback()
def _global_flags(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-v", help="Show the version and exit.")] = False,
    _config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="Configuration file (default: the first ~/.walg.*).")
    ] = "",
    _turbo: Annotated[bool, typer.Option("--turbo", help="Ignore rate limits; a reader for each core.")] = False,
) -> None:
    # --config and --turbo are taken before typer sees them; they stand here for --help.
    if version:
        print_result(version_text())
    elif ctx.invoked_subcommand is None:
        print_result(ctx.get_help() + "\n")


def version_text() -> str:
    """What --version prints, in WAL-G's columns: version, runtime, flavour."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{PROGRAM} version v{walpy.__version__}\tPython {python}\tPostgreSQL\n"


def _completion(
    ctx: typer.Context, shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]
) -> None:
    """Print the completion script of a shell."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # its types hide it

    if shell not in ("bash", "zsh", "fish"):
        ctx.fail(f'invalid argument "{shell}" for "{ctx.command_path}"')
    print_result(get_completion_script(prog_name=PROGRAM, complete_var="_WALPY_COMPLETE", shell=shell) + "\n")


def _flags() -> None:
    """List the flags that every command takes."""
    names = sorted(flag_of(key) for key in KNOWN.keys() | ALIASES_WITH_FLAG if has_flag(key))
    print_result("--config FILE\n--turbo\n" + "".join(f"{name} VALUE\n" for name in names))


def _help(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]...", help="A command and its sub-command.")
    ] = None,
) -> None:
    """Show the help of a command."""
    _dispatch([*(names or []), "--help"], ctx.ensure_object(Invocation))


cli_commands.register(app)
app.add_typer(cli_delete.app, name="delete", cls=Group)
app.add_typer(cli_st.app, name="st", cls=Group)
app.add_typer(cli_pgbackrest.app, name="pgbackrest", cls=Group)
app.add_typer(cli_config.app, name="config", cls=Group)
cli_commands.register_rest(app)
cli_archive.register(app)
cli_catchup.register(app)
cli_daemon.register(app)
app.command("completion", cls=Command)(_completion)
app.command("flags", cls=Command)(_flags)
app.command("help", cls=Command)(_help)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, all messages told. argv: without the program's name."""
    start_logging()
    try:
        arguments, flags, config_path = split_setting_flags(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        show_usage_error(error)
        return 1
    invocation = Invocation(flags, os.environ, config_path)
    return told(lambda: _dispatch(arguments, invocation))


def _dispatch(arguments: list[str], invocation: Invocation) -> int:
    try:
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=invocation)
    except ParserError as error:
        show_usage_error(error)
        return 1
    except SystemExit as end:  # shell completion ends so
        code = end.code
    return code if isinstance(code, int) else 0
