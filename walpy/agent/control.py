"""Shows and ends the agents of this user."""

import json

from walpy import client
from walpy.agent.runtime import sockets


def agent_states() -> list[dict[str, object]]:
    """What each running agent says of itself."""
    return [state for state in map(_state, sockets()) if state]


def stop_agents() -> int:
    """Let every agent end after its last request; how many were asked to."""
    return sum(_ask(path, "stop") is not None for path in sockets())


def _state(path: str) -> dict[str, object] | None:
    answer = _ask(path, "status")
    document = json.loads(answer) if answer else None
    return document if isinstance(document, dict) else None


def _ask(path: str, word: str) -> bytes | None:
    """What an agent answers to one word; None when nobody answers."""
    payloads: list[bytes] = []
    try:
        client.converse(path, [word], lambda _kind, payload: payloads.append(payload))
    except (client.NoAnswer, OSError):
        return None
    return b"".join(payloads)
