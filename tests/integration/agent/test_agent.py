"""The resident agent as PostgreSQL meets it: the installed command in a data directory."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.agent.agents import Site, wait_for
from tests.unit.wal.synthetic import FIRST, OTHER_SYSTEM_IDENTIFIER, segment
from walpy.wal.segment import MIB, following_segment


def test_the_first_command_starts_an_agent_and_the_next_ones_use_it(site: Site) -> None:
    first, *others = site.segments(6)
    assert site.push(first).returncode == 0
    wait_for(lambda: len(site.states()) == 1)
    for name in others:
        result = site.push(name)
        assert result.returncode == 0
        assert "INFO: " in result.stderr
        assert "Files will be uploaded to storage: default" in result.stderr
    (state,) = site.states()
    assert state["requests"] == len(others)
    assert state["data_directory"] == str(site.data.path)
    assert all(site.stored(name) for name in (first, *others))


def test_what_an_agent_archived_ahead_is_told_at_its_turn(site: Site) -> None:
    site.start_agent()
    first, second, third = site.segments(3)
    assert f"FILE PATH: {first}.lz4" in site.push(first).stderr
    wait_for(lambda: (site.archive / f"wal_005/{third}.lz4").exists())
    wait_for(lambda: site.states()[0]["uploading_ahead"] == 0)
    for name in (second, third):
        assert f"FILE PATH: {name}.lz4" in site.push(name).stderr
    assert list(site.data.markers.iterdir()) == []


def test_a_failure_reaches_the_command(site: Site) -> None:
    site.start_agent()
    name = site.segments(1)[0]
    assert site.push(name).returncode == 0
    site.data.add(name, segment(name, seed=1), ready=True)
    result = site.push(name)
    assert result.returncode == 1
    assert "already archived, contents differ, unable to overwrite" in result.stderr
    foreign = following_segment(name, MIB)
    site.data.add(foreign, segment(foreign, system_identifier=OTHER_SYSTEM_IDENTIFIER), ready=True)
    assert "is not archived" in site.push(foreign).stderr
    assert site.states()[0]["requests"] == 3


def test_segments_are_fetched_and_fetched_ahead(site: Site) -> None:
    site.data.serve()
    names = site.segments(12)
    for name in names:
        assert site.push(name).returncode == 0
    for name in names:
        result = site.run("wal-fetch", name, "pg_wal/RECOVERYXLOG")
        assert (result.returncode, result.stderr) == (0, "")
        assert (site.data.wal / "RECOVERYXLOG").read_bytes() == (site.data.wal / name).read_bytes()
    assert site.run("wal-fetch", following_segment(names[-1], MIB), "pg_wal/RECOVERYXLOG").returncode == 74
    assert site.states()[0]["prefetch_depth"] > 2  # type: ignore[operator]  # JSON
    assert not list(site.data.wal.glob(".RECOVERYXLOG*"))


def test_nothing_is_fetched_ahead_where_no_server_runs(site: Site) -> None:
    names = site.segments(4)
    for name in names:
        site.push(name)
    site.start_agent()
    for name in names:
        assert site.run("wal-fetch", name, "pg_wal/RECOVERYXLOG").returncode == 0
    assert site.states()[0]["downloading_ahead"] == 0
    assert not list((site.data.wal / ".wal-g").glob("**/0*"))


def fetched_ahead(site: Site, count: int) -> tuple[Path, list[str]]:
    """The folder, and so many archived segments: the first was asked for, and what follows has been fetched ahead."""
    names = site.segments(count)
    for name in names:
        site.push(name)
    site.start_agent()
    site.run("wal-fetch", names[0], "pg_wal/RECOVERYXLOG")
    folder = site.data.wal / ".wal-g/prefetch"
    wait_for(lambda: (folder / names[1]).exists())
    wait_for(lambda: site.states()[0]["downloading_ahead"] == 0)
    return folder, names


def test_the_depth_of_the_prefetch_follows_the_demand(site: Site) -> None:
    site.data.serve()
    folder, names = fetched_ahead(site, 12)
    ready = [name for name in names if (folder / name).exists()]
    assert names[1] in ready
    assert len(ready) < len(names) - 1


def test_a_prefetch_folder_that_was_removed_is_made_again(site: Site) -> None:
    site.data.serve()
    folder, names = fetched_ahead(site, 6)
    shutil.rmtree(site.data.wal / ".wal-g")
    assert site.run("wal-fetch", names[1], "pg_wal/RECOVERYXLOG").returncode == 0
    wait_for(lambda: (folder / names[2]).exists())


def test_what_stands_at_the_destination_is_treated_as_without_an_agent(site: Site, tmp_path: Path) -> None:
    name = site.segments(1)[0]
    site.push(name)
    site.start_agent()
    (site.data.wal / "folder").mkdir()
    result = site.run("wal-fetch", name, "pg_wal/folder")
    assert "not a regular file" in result.stderr
    assert result.returncode > 125  # a recovery must not take it for the end of the archive
    (tmp_path / "target").write_bytes(b"old")
    (site.data.wal / "link").symlink_to(tmp_path / "target")
    assert site.run("wal-fetch", name, "pg_wal/link").returncode == 0
    assert (site.data.wal / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == (site.data.wal / name).read_bytes()


def test_an_agent_leaves_nothing_open_but_its_own(site: Site) -> None:
    pid = site.start_agent()
    site.push(site.segments(1)[0])
    wait_for(lambda: site.states()[0]["requests_under_way"] == 0)
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    assert links.count("/dev/null") == 3
    others = [link for link in links if link != "/dev/null" and not link.startswith("socket:")]
    assert all(link.endswith((".lock", "data")) for link in others), links
    assert os.getsid(pid) == pid
    directory = site.runtime / f"walpy-{os.geteuid()}"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("setting", ["WALPY_AGENT", "flag"])
def test_no_agent_where_none_is_wanted(setting: str, site: Site) -> None:
    name = site.segments(1)[0]
    if setting == "flag":
        result = site.run("wal-push", "--walpy-agent=off", f"pg_wal/{name}")
    else:
        result = site.run("wal-push", f"pg_wal/{name}", WALPY_AGENT="off")
    assert result.returncode == 0
    assert not (site.runtime / f"walpy-{os.geteuid()}").exists()


def test_no_agent_outside_of_a_data_directory(site: Site) -> None:
    (site.data.path / "PG_VERSION").unlink()
    assert site.push(site.segments(1)[0]).returncode == 0
    assert not (site.runtime / f"walpy-{os.geteuid()}").exists()


def test_a_wrong_mode_is_an_error(site: Site) -> None:
    result = site.run("wal-push", f"pg_wal/{FIRST}", WALPY_AGENT="sometimes")
    assert result.returncode == 1
    assert "WALPY_AGENT has the wrong value 'sometimes' (environment): expected one of auto, off" in result.stderr


def test_a_directory_that_others_may_enter_is_not_used(site: Site) -> None:
    directory = site.runtime / f"walpy-{os.geteuid()}"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    assert site.push(site.segments(1)[0]).returncode == 0
    assert list(directory.iterdir()) == []


def test_other_settings_are_another_agents(site: Site, make_site: Callable[..., Site]) -> None:
    first, second = site.segments(2)
    site.push(first)
    wait_for(lambda: len(site.states()) == 1)
    elsewhere = site.archive.parent / "elsewhere"
    elsewhere.mkdir()
    assert site.push(second, WALG_FILE_PREFIX=str(elsewhere)).returncode == 0
    assert (elsewhere / f"wal_005/{second}.lz4").exists()
    wait_for(lambda: len(site.states()) == 2)


def test_a_changed_configuration_file_ends_the_agent_before_its_next_answer(site: Site) -> None:
    del site.environment["WALG_FILE_PREFIX"]
    config = site.archive.parent / "walg.json"
    config.write_text(f'{{"WALG_FILE_PREFIX": "{site.archive}"}}')
    site.environment["WALG_CONFIG_PATH"] = str(config)
    first, second = site.segments(2)
    site.push(first)
    wait_for(lambda: len(site.states()) == 1)
    elsewhere = site.archive.parent / "elsewhere"
    elsewhere.mkdir()
    config.write_text(f'{{"WALG_FILE_PREFIX": "{elsewhere}"}}')
    assert site.push(second).returncode == 0
    assert (elsewhere / f"wal_005/{second}.lz4").exists()
    wait_for(lambda: site.processes() == [])


def test_an_agent_ends_with_its_server(site: Site) -> None:
    server = site.data.serve()
    site.start_agent()
    server.unlink()
    wait_for(lambda: site.processes() == [])


def test_agents_are_shown_and_stopped(site: Site) -> None:
    assert site.run("daemon", "status").stdout == "no agent is running for this user\n"
    site.start_agent()
    shown = site.run("daemon", "status").stdout
    assert f"data directory: {site.data.path}\n" in shown
    assert site.run("daemon", "stop").stdout == "agents told to stop: 1\n"
    wait_for(lambda: site.processes() == [])
    assert site.run("daemon", "stop").stdout == "agents told to stop: 0\n"
