"""SshProcess: the system's `ssh`, connected to a server's SFTP subsystem; its failures as walpy's errors.

Why the system's program and not a library: it is what administrators configure and trust (known_hosts, agent, jump
hosts, hardware keys, `~/.ssh/config`), it encrypts in another process, outside of the interpreter lock, and starting it
costs less than importing an SSH library.

Connection sharing (ControlMaster) is off: ending this process must end its connection.
"""

import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from typing import NamedTuple

from walpy.errors import AccessDenied, ConfigError, StorageError, StorageUnavailable

ALIVE_INTERVAL = 15  # seconds after which an idle connection is probed; three probes without an answer end it
END_TIME = 2.0  # seconds that ssh has to end by itself
SHOWN_SIZE = 400  # characters of ssh's messages in an error

KEY_HINT = (
    "Compare the server's key with what its administrator says, then add it for the user that runs walpy:"
    " ssh-keyscan HOST >> ~/.ssh/known_hosts. WALPY_SSH_HOST_KEY_CHECK says what is accepted."
)
LOGIN_HINT = (
    "Check SSH_USERNAME and SSH_PRIVATE_KEY_PATH (WALPY_SSH_KEY_PASSPHRASE, or an agent, when the key has a pass"
    " phrase) or SSH_PASSWORD, and the server's authorized_keys."
)
# The first text that ssh's messages contain, in lower case, says what happened; nothing of it: the connection failed.
MEANINGS: tuple[tuple[str, type[StorageError], str], ...] = (
    ("remote host identification has changed", AccessDenied, KEY_HINT),
    ("host key verification failed", AccessDenied, KEY_HINT),
    ("host key is known for", AccessDenied, KEY_HINT),
    ("permission denied (", AccessDenied, LOGIN_HINT),
    ("too many authentication failures", AccessDenied, LOGIN_HINT),
    ("no more authentication methods", AccessDenied, LOGIN_HINT),
    ("subsystem request failed", StorageError, "The server's sshd_config needs a line: Subsystem sftp internal-sftp."),
    ("no matching ", StorageError, "Client and server share no algorithm: see ssh_config(5)."),
    ("bad configuration option", StorageError, "Correct the configuration of ssh: ~/.ssh/config, /etc/ssh/ssh_config."),
    ("bad owner or permissions", StorageError, "ssh refuses a configuration that others may write."),
)
UNAVAILABLE_HINT = (
    "Check that the server runs and can be reached; WALPY_STORAGE_DEADLINE says how long walpy goes on trying."
)

STRICT, ACCEPT_NEW, NONE = "strict", "accept-new", "none"
HOST_KEY_CHECKS = {STRICT: "yes", ACCEPT_NEW: "accept-new", NONE: "no"}  # the value of ssh's StrictHostKeyChecking


class SshSettings(NamedTuple):
    """How to log in; empty: what ssh and its configuration say."""

    host: str
    port: str = ""
    user: str = ""
    key_path: str = ""
    password: str = ""
    passphrase: str = ""
    host_key_check: str = STRICT  # a key of HOST_KEY_CHECKS
    known_hosts: str = ""


def arguments(settings: SshSettings, connect_timeout: float) -> list[str]:
    """The command line of ssh; no secret is in it. connect_timeout: seconds."""
    secret = settings.password or settings.passphrase
    options = {
        "BatchMode": "no" if secret else "yes",
        "NumberOfPasswordPrompts": "1",
        "StrictHostKeyChecking": HOST_KEY_CHECKS[settings.host_key_check],
        "ConnectTimeout": str(max(1, round(connect_timeout))),
        "ServerAliveInterval": str(ALIVE_INTERVAL),
        "ControlMaster": "no",
        "ControlPath": "none",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "LogLevel": "ERROR",
    }
    if settings.host_key_check == NONE:
        options |= {"UserKnownHostsFile": "/dev/null", "GlobalKnownHostsFile": "/dev/null"}
    elif settings.known_hosts:
        options["UserKnownHostsFile"] = f'"{settings.known_hosts}"'
    if settings.key_path:
        options["IdentitiesOnly"] = "yes"
    words = ["ssh", "-T", "-x", "-a", "-e", "none", *(f"-o{key}={value}" for key, value in options.items())]
    for flag, value in (("-p", settings.port), ("-l", settings.user), ("-i", settings.key_path)):
        words += [flag, value] if value else []
    return [*words, "-s", "--", settings.host, "sftp"]


class SshProcess:
    """A running ssh; `socket` carries the bytes of its standard input and output."""

    def __init__(self, settings: SshSettings, connect_timeout: float) -> None:
        """Start ssh; it connects by itself. Raises ConfigError when there is no such program."""
        program = shutil.which("ssh")
        if program is None:
            raise ConfigError("the program ssh is not installed", "Install it: the package openssh-client.")
        self._host = settings.host
        self._messages = os.memfd_create("ssh-messages")
        self._answer = _answering_script(settings)
        self._ended = False
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = os.posix_spawn(
                program,
                arguments(settings, connect_timeout),
                _environment(self._answer),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, self._messages, 2),
                ],
                setpgroup=0,  # Ctrl-C is walpy's: it still has to remove what it began
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
            )

    def end(self) -> None:
        """End ssh and its connection; safe to call again. The socket is the caller's to close."""
        if self._ended:
            return
        self._ended = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._reap()
        if self._answer >= 0:
            os.close(self._answer)

    def failure(self) -> StorageError:
        """What ssh said when it ended; the caller has seen its end and calls end() first."""
        text = " ".join(os.pread(self._messages, 1 << 16, 0).decode(errors="replace").split())
        os.close(self._messages)
        for words, kind, hint in MEANINGS:
            if words in text.lower():
                return kind(f"cannot log in to ssh server {self._host!r}: {text[-SHOWN_SIZE:]}", hint)
        return StorageUnavailable(
            f"the connection to ssh server {self._host!r} broke" + (f": {text[-SHOWN_SIZE:]}" if text else ""),
            UNAVAILABLE_HINT,
        )

    def _reap(self) -> None:
        """Wait for the process's end, which its closed input brings about; else force it."""
        limits = time.monotonic() + END_TIME / 2, time.monotonic() + END_TIME
        pause = 0.001
        while not os.waitpid(self._process, os.WNOHANG)[0]:
            now = time.monotonic()
            if now > limits[0]:
                os.kill(self._process, signal.SIGKILL if now > limits[1] else signal.SIGTERM)
            time.sleep(pause)
            pause = min(0.05, pause * 2)


def _environment(answer: int) -> dict[str, str]:
    environment = dict(os.environ)
    if answer >= 0:
        environment |= {
            "SSH_ASKPASS": f"/proc/{os.getpid()}/fd/{answer}",
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": environment.get("DISPLAY", ":0"),  # without one, ssh before 8.4 asks nobody
        }
    return environment


def _answering_script(settings: SshSettings) -> int:
    """A program in memory that answers ssh's questions (SSH_ASKPASS), as a descriptor; -1 when there is no secret.

    In memory, because a file would outlive a kill, and an environment variable is inherited by everybody.
    """
    if not settings.password and not settings.passphrase:
        return -1
    descriptor = os.memfd_create("ssh-askpass")
    script = (
        '#!/bin/sh\ncase "$1" in\n'
        f"*passphrase*) printf '%s\\n' {_quoted(settings.passphrase)} ;;\n"
        f"*) printf '%s\\n' {_quoted(settings.password)} ;;\nesac\n"
    )
    os.write(descriptor, script.encode(errors="surrogateescape"))
    os.fchmod(descriptor, 0o500)
    try:  # what somebody may write, nobody can run
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(descriptor)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
