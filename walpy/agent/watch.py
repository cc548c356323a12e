"""What an agent's answers depend on, beside the settings that its socket's name stands for: files, and the server."""

import os
import sys
from collections.abc import Iterator, Mapping

import walpy
from walpy import client
from walpy.agent.start import server_process
from walpy.config import Config
from walpy.config_file import SEARCHED, home_directory

LOG_FILE = "WALG_LOG_DESTINATION"  # grows: only another file in its place counts

PACKAGES = ("site-packages", "dist-packages")  # every installation changes these; not the folder of a checkout

Identity = tuple[int, ...] | None  # of a file; None: not there


class Watch:
    """What was there when the agent started.

    environ: the process environment, for the SDKs' own files. server: the process of the server whose command started
    the agent; 0: none ran. By then it may have ended.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], server: int) -> None:
        self._directory = os.getcwd()
        self._files = {path: _identity(path) for path in _files(config, environ)}
        log_file = config.text(LOG_FILE)
        self._places = {path: _place(path) for path in (self._directory, log_file) if path and path != "stderr"}
        self._server = server

    def change(self) -> str:
        """What changed, for people; empty: nothing."""
        if os.readlink("/proc/self/exe").endswith(" (deleted)"):
            return "the Python interpreter was replaced"
        if self._server and not _is_running(self._server):
            return "the server was stopped"
        for path, place in self._places.items():
            if _place(path) != place:
                return f"{path} was replaced"
        return next((f"{path} changed" for path, was in self._files.items() if _identity(path) != was), "")


def _files(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Files that settings come from or name, those of credentials, and those of walpy itself."""
    yield from (walpy.__file__, client.__file__)
    yield from (path for path in sys.path if os.path.basename(path) in PACKAGES)
    home = home_directory()
    yield from (os.path.join(home, f".walg.{extension}") for extension in SEARCHED)
    yield from (os.path.join(home, name) for name in (".aws/credentials", ".aws/config", ".boto"))
    yield os.path.join(home, ".config/gcloud/application_default_credentials.json")
    named = [environ.get(name, "") for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE")]
    named += [environ.get(name, "") for name in ("GOOGLE_APPLICATION_CREDENTIALS", "REQUESTS_CA_BUNDLE")]
    settings = [item.value for key, item in config.settings.items() if key != LOG_FILE]
    yield from (path for path in [config.config_path, *named, *settings] if os.path.isfile(path))


def _identity(path: str) -> Identity:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _place(path: str) -> Identity:
    identity = _identity(path)
    return identity[:2] if identity else None


def _is_running(server: int) -> bool:
    if server_process() != server:
        return False
    try:
        os.kill(server, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
