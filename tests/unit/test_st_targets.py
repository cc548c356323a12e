"""st --target: one storage, or all in turn, for every command; and where the flags may stand."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.failover import Places
from walpy.cli import main

Run = Callable[..., int]


@pytest.fixture
def run(places: Places, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `st` on three storages, each with an object of its own and one that all have."""
    for key, value in places.settings(WALG_COMPRESSION_METHOD="none").items():
        monkeypatch.setenv(key, value)
    for name in ("default", "b", "c"):
        (places.base / name / f"only-{name}").write_text(name)
        (places.base / name / "every").write_text(name)
    return lambda *words: main(["st", *words])


@pytest.mark.parametrize("name", ["default", "b", "c"])
def test_one_storage(name: str, run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (["-t", name], [f"--target={name}"]):
        assert run("cat", "every", *words) == 0
        assert capsys.readouterr().out == name
    assert run("ls", "-t", name) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ["every", f"only-{name}"]
    assert run("get", "every", str(tmp_path / "got"), "-t", name) == 0
    assert (tmp_path / "got").read_text() == name
    assert run("stat", f"only-{name}", "-t", name) == 0
    assert run("check", "read", f"only-{name}", "-t", name) == 0
    assert run("check", "write", "-t", name) == 0
    assert run("inspect", "every", "-t", name) == 0


def test_all_storages(run: Run, places: Places, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    order = places.order()
    assert run("cat", "every", "--target=all") == 0
    shown = capsys.readouterr()
    assert shown.out == "".join(order)
    assert [line.rpartition(" storage ")[2] for line in shown.err.splitlines()] == order
    assert run("ls", "-t", "all") == 0
    assert capsys.readouterr().out.count("type size last modified") == 3
    assert run("check", "write", "-t", "all") == 0
    assert capsys.readouterr().err.count("Write check OK") == 3
    (tmp_path / "file").write_text("new")
    assert run("put", str(tmp_path / "file"), "new", "-t", "all") == 0
    assert all("new" in places.objects(name) for name in order)
    assert run("rm", "new", "-t", "all") == 0
    assert not any("new" in places.objects(name) for name in order)


def test_one_success_is_enough(run: Run, places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cat", "only-b", "-t", "all") == 0
    shown = capsys.readouterr()
    assert shown.out == "b"
    assert shown.err.count("ERROR") == 2
    places.kill("default")
    assert run("rm", "/", "--target=all") == 0
    assert "storage" in capsys.readouterr().err
    assert places.objects("b") == places.objects("c") == []
    assert run("rm", "/", "--target=all") == 1
    assert "all storages failed" in capsys.readouterr().err


def test_what_all_cannot_mean(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("get", "every", str(tmp_path / "got"), "-t", "all") == 1
    assert "'all' target is not supported for st get command" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text")))
    assert run("put", "-s", "x", "-t", "all") == 1
    assert "stdin can be read once" in capsys.readouterr().err
    assert run("put", "-s", "x", "-t", "c") == 0
    assert run("ls", "-t", "nowhere") == 1
    assert 'unknown storage "nowhere"' in capsys.readouterr().err


def test_flags_may_stand_before_the_command(run: Run, places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-t", "c", "cat", "every"], ["-tc", "cat", "every"], ["--target=c", "cat", "every"]):
        assert run(*words) == 0
        assert capsys.readouterr().out == "c"
    assert run("-g", "--target", "b", "rm", "only-?") == 0
    assert places.objects("b") == ["every"]
    assert run("-t", "b", "check", "read", "every") == 0
    assert run("transfer", "-s", "c", "files", "only-c") == 0
    assert run("-t", "b", "transfer", "--source=c", "files", "nothing") == 0
    assert run("--nonsense", "ls") == 1
    assert "unknown flag: --nonsense" in capsys.readouterr().err
    assert run("-t") == 1


def test_a_pattern_removes_folders_as_well(run: Run, places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    (places.base / "c/only-folder").mkdir()
    (places.base / "c/only-folder/x").write_text("x")
    assert run("cat", "-g", "only-f*", "-t", "c") == 1
    assert "no object fits" in capsys.readouterr().err
    assert run("rm", "-g", "only-*", "-t", "c") == 0
    assert places.objects("c") == ["every"]
    assert run("stat", "-g", "every") == 1
    assert "the --glob flag isn't supported by 'stat'" in capsys.readouterr().err


def test_without_failover_storages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WALG_FILE_PREFIX", str(tmp_path))
    for name in ("", "default", "all"):
        assert main(["st", "ls", "--target", name]) == 0
    assert "storage default" in capsys.readouterr().err
    assert main(["st", "ls", "--target", "second"]) == 1
    assert 'unknown storage "second"' in capsys.readouterr().err
