"""`walpy daemon`: serves WAL-G's daemon protocol; shows and ends the resident agents that commands start."""

import json as json_module
from typing import Annotated

import typer

from walpy.cli_invocation import Invocation, print_result
from walpy.cli_usage import Command


def daemon(
    ctx: typer.Context,
    socket: Annotated[str, typer.Argument(metavar="SOCKET|status|stop", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="status: print JSON.")] = False,
) -> None:
    """Serve wal-push and wal-fetch at a socket, in WAL-G's daemon protocol; or show or stop the agents.

    SOCKET is a path; SIGHUP reads the settings anew, SIGUSR1 opens the log file anew, SIGTERM ends the daemon.
    An agent is what the first wal-push or wal-fetch of a server starts for the next ones (WALPY_AGENT=off: none).
    'status' shows those of the user that runs it, 'stop' ends them; run it as the user that PostgreSQL runs as.
    """
    from walpy.agent.control import agent_states, stop_agents
    from walpy.agent.daemon import run_daemon

    if socket == "status":
        states = agent_states()
        print_result(json_module.dumps(states) + "\n" if json else as_text(states))
    elif socket == "stop":
        print_result(f"agents told to stop: {stop_agents()}\n")
    else:
        invocation = ctx.ensure_object(Invocation)
        run_daemon(invocation.load, socket, invocation.environ)


def as_text(states: list[dict[str, object]]) -> str:
    """One block of lines for each agent."""
    blocks = ("".join(f"{name.replace('_', ' ')}: {value}\n" for name, value in state.items()) for state in states)
    return "\n".join(blocks) or "no agent is running for this user\n"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("daemon", cls=Command)(daemon)
