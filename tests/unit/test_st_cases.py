"""Every case of `st` that WAL-G was run with, one after the other: stdout, exit code, message, and what is left."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.golden import GOLDEN, RICH, golden_archive
from walpy.cli import main

CASES: list[dict[str, Any]] = json.loads((GOLDEN / "cli-output/st-cases.json").read_text())
BULK = "st-cat-bulk-metadata.txt"  # of another archive: its object is put there
# Messages that walpy words otherwise; the rest of WAL-G's is looked for.
WORDS = {
    "st-cat-missing.txt": 'download the file "nope": there is no such object',  # WAL-G: copy_file_range: is a directory
    "st-stat-missing.txt": 'stat object "nope": there is no such object',  # WAL-G: not found in storage
}

# Files that hold the history file's text after a case.
CONTENTS = {"st-get.txt": "got.history", "st-put-force.txt": "copy/archive/extra/file"}


def shown_times(table: str) -> Iterator[tuple[str, int]]:
    """Names and times (ns) of the objects in a listing."""
    for line in table.splitlines():
        cells = line.split()
        if cells and cells[0] == "obj":
            whole, _, fraction = f"{cells[2]} {cells[3]}".partition(".")
            seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
            yield cells[6], seconds * 10**9 + int(f"{fraction:0<9}")


def set_times(root: Path, folder: str, table: str) -> None:
    for name, modified_ns in shown_times(table):
        path = root / folder / name
        if path.exists():
            os.utime(path, ns=(modified_ns, modified_ns))


def objects_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_every_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], utc: None
) -> None:
    root = golden_archive(RICH).copy(tmp_path / "copy") / "archive"
    for path in root.glob("basebackups_005/*_sentinel.json"):  # renamed in the captures
        path.write_bytes(path.read_bytes().replace(b"/tmp/fx/", b"/srv/fx/"))
    by_name = {case["file"]: case for case in CASES}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WALG_FILE_PREFIX", str(root))
    for case in CASES:
        if case["file"] == BULK:
            (root / "wal_005").mkdir(exist_ok=True)
            (root / case["args"][-1]).write_text(case["stdout"])
        set_times(root, "", by_name["st-ls-r.txt"]["stdout"])
        set_times(root, "extra", by_name["st-ls-extra.txt"]["stdout"])
        before = objects_of(root)
        assert main(case["args"]) == case["exit"], case["file"]
        shown = capfdbinary.readouterr()
        # For wrong usage WAL-G has the message on stdout, too.
        assert shown.out.decode() == ("" if case["exit"] else case["stdout"]), case["file"]
        for line in case["stderr"].splitlines():
            level, _, text = line.partition(": ")
            words = WORDS.get(case["file"], text.split(" ", 2)[-1] if level in ("INFO", "ERROR") else text)
            if level in ("INFO", "ERROR", "Error"):
                assert words in shown.err.decode(), case["file"]
        after = objects_of(root)
        assert before - after == set(case["removed"] or ()), case["file"]
        assert after - before == set(case["added"] or ()), case["file"]
        if case["file"] in CONTENTS:
            path = tmp_path / CONTENTS[case["file"]]
            assert path.read_bytes() == b'1\t0/201C438\tat restore point "fork_here"\n', case["file"]
    stored = golden_archive(RICH).folder / "archive/wal_005/00000002.history.lz4"
    assert (tmp_path / "got.history.lz4").read_bytes() == stored.read_bytes()
    assert (tmp_path / "got.history").stat().st_mode & 0o777 == 0o640
