"""What ends an agent: changes of what its answers depend on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import walpy
from walpy.agent.start import server_process
from walpy.agent.watch import Watch
from walpy.config import Config, Setting


@pytest.fixture(autouse=True)
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    directory = tmp_path / "data"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def watch(config: Config | None = None, **environ: str) -> Watch:
    return Watch(config or Config.from_mapping({"WALG_FILE_PREFIX": "/x"}), environ, server_process())


def test_nothing_changes_by_itself() -> None:
    assert watch().change() == ""


@pytest.mark.parametrize("how", ["written", "replaced", "removed"])
@pytest.mark.parametrize("what", ["configuration", "setting", "credentials"])
def test_files_that_settings_and_credentials_come_from(how: str, what: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    if what == "configuration":
        watching = watch(Config({}, str(file)))
    elif what == "setting":
        watching = watch(Config({"WALG_S3_CA_CERT_FILE": Setting(str(file), "environment")}))
    else:
        watching = watch(AWS_SHARED_CREDENTIALS_FILE=str(file))
    assert watching.change() == ""
    if how == "written":
        file.write_text("newer")
    elif how == "replaced":
        (tmp_path / "new").write_text("new")
        (tmp_path / "new").rename(file)
    else:
        file.unlink()
    assert watching.change() == f"{file} changed"


def test_a_log_file_may_grow_but_not_be_moved_away(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a\n")
    watching = watch(Config.from_mapping({"WALG_LOG_DESTINATION": str(log)}))
    log.write_text("a\nb\n")
    assert watching.change() == ""
    log.rename(tmp_path / "log.1")
    assert watching.change() == f"{log} was replaced"


def test_the_data_directory(data_directory: Path) -> None:
    watching = watch()
    data_directory.rename(data_directory.with_name("old"))
    data_directory.mkdir()
    assert watching.change() == f"{data_directory} was replaced"


def test_a_server_that_is_stopped_or_another(data_directory: Path) -> None:
    server = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pid_file = data_directory / "postmaster.pid"
    pid_file.write_text(f"{server.pid}\n/data\n")
    watching = watch()
    assert watching.change() == ""
    pid_file.write_text(f"{os.getpid()}\n/data\n")
    assert watching.change() == "the server was stopped"
    pid_file.write_text(f"{server.pid}\n/data\n")
    assert watching.change() == ""
    server.communicate(b"\n")
    assert watching.change() == "the server was stopped"  # killed, it leaves its file behind
    pid_file.unlink()
    assert watching.change() == "the server was stopped"


def test_a_server_that_has_ended_before_the_agent_looked() -> None:
    watching = Watch(Config.from_mapping({"WALG_FILE_PREFIX": "/x"}), {}, os.getpid())
    assert watching.change() == "the server was stopped"


def test_an_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages/walpy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(walpy, "__file__", str(package / "__init__.py"))
    monkeypatch.syspath_prepend(package.parent)
    watching = watch()
    (package.parent / "other-1.0.dist-info").mkdir()
    assert watching.change() == f"{package.parent} changed"
    watching = watch()
    (package / "__init__.py").write_text('__version__ = "9"')
    assert watching.change() == f"{package / '__init__.py'} changed"


def test_files_beside_a_checkout_are_no_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "project/walpy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(walpy, "__file__", str(package / "__init__.py"))
    monkeypatch.syspath_prepend(package.parent)
    watching = watch()
    (package.parent / ".mypy_cache").mkdir()
    assert watching.change() == ""
