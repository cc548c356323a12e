"""Configuration files: JSON, YAML, TOML and dotenv, and where they are looked for."""

import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from walpy.config import load_config
from walpy.config_file import as_text, find_config_file, read_config_file
from walpy.errors import ConfigError


def read(path: Path, text: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    path.write_text(text, encoding="utf-8")
    return read_config_file(str(path), environ or {})


def test_json_values_become_texts(tmp_path: Path) -> None:
    text = """{"walg_file_prefix": "/x", "A": 1073741823, "B": 1.07e9, "C": true, "D": false, "E": null, "F": "",
               "G": 0.0000001, "H": {"second": {"AWS_REGION": "eu"}}, "I": 12345678901234567890, "J": 2.50}"""
    assert read(tmp_path / "c.json", text) == {
        "WALG_FILE_PREFIX": "/x",
        "A": "1073741823",
        "B": "1070000000",
        "C": "true",
        "D": "false",
        "G": "0.0000001",
        "H": '{"second": {"AWS_REGION": "eu"}}',
        "I": "12345678901234567890",
        "J": "2.5",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e22, "1" + "0" * 22),
        (-1.5e-9, "-0.0000000015"),
        (1e-7, "0.0000001"),
        (123.456, "123.456"),
        (5.960464477539063e-08, "0.00000005960464477539063"),  # exactly half way between two last digits
    ],
)
def test_floats_have_the_shortest_decimals(value: float, text: str) -> None:
    assert as_text(value) == text


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path / "c.json", '\ufeff{"A": "x"}') == {"A": "x"}


def test_yaml_resolves_as_walgs_decoder_does(tmp_path: Path) -> None:
    text = """
        walg_file_prefix: /x
        A: yes
        B: on
        C: True
        D: 0777
        E: 0x10
        F: 1_000
        G: "0777"
        H: ~
        I: 2026-05-01
        J: 12:30:45
        K: 1.5e3
        L: !!str 5
        M: |
          -----BEGIN-----
          two
        N: {Second: {AWS_REGION: eu}}
        O: [1, a]
    """
    assert read(tmp_path / "c.yaml", text) == {
        "WALG_FILE_PREFIX": "/x",
        "A": "yes",
        "B": "on",
        "C": "true",
        "D": "511",
        "E": "16",
        "F": "1000",
        "G": "0777",
        "I": "2026-05-01",
        "J": "12:30:45",
        "K": "1500",
        "L": "5",
        "M": "-----BEGIN-----\ntwo\n",
        "N": '{"Second": {"AWS_REGION": "eu"}}',
        "O": '[1, "a"]',
    }


def test_yaml_anchors_and_merges(tmp_path: Path) -> None:
    text = "BASE: &base {A: one, B: two}\nN:\n  <<: *base\n  B: three\n"
    assert read(tmp_path / "c.yml", text)["N"] == '{"A": "one", "B": "three"}'


def test_empty_files(tmp_path: Path) -> None:
    assert read(tmp_path / "c.yaml", "# nothing\n") == {}
    assert read(tmp_path / "c.toml", "") == {}
    assert read(tmp_path / "c.env", "\n# nothing\n") == {}


def test_toml(tmp_path: Path) -> None:
    text = 'WALG_FILE_PREFIX = "/x"\nA = 5\nB = true\nC = 2026-05-01\n[D]\ne = 1\n'
    assert read(tmp_path / "c.toml", text) == {
        "WALG_FILE_PREFIX": "/x",
        "A": "5",
        "B": "true",
        "C": "2026-05-01",
        "D": '{"e": 1}',
    }


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=x", "x"),
        ("export A=x", "x"),
        ("A: x", "x"),
        ("  A = x y  # note", "x y"),
        ("A='x # y $B'", "x # y $B"),
        (r'A="x\ny\"z"', 'x\ny"z'),
        ('A="x # y"  # note', "x # y"),
        ("A=$B/${B}/c", "bee/bee/c"),
        (r"A=\$B", "$B"),
        (r'A="\$B"', "$B"),
        ("A=5$", "5$"),
        ("A=it's", "it's"),
    ],
)
def test_dotenv_lines(tmp_path: Path, line: str, value: str) -> None:
    assert read(tmp_path / "c.env", f"B=bee\n{line}\n")["A"] == value


def test_dotenv_variables_of_the_environment(tmp_path: Path) -> None:
    assert read(tmp_path / ".env", "A=$HOME/x\n", {"HOME": "/h"}) == {"A": "/h/x"}


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("c.json", '{"PGPASSWORD": "s3cret"', "line 1"),
        ("c.yaml", "A: x\nPGPASSWORD: 's3cret\n", "line"),
        ("c.yaml", "A: x\nPGPASSWORD: s3cret\nPGPASSWORD: s3cret\n", "line 3"),
        ("c.toml", 'A = 1\nPGPASSWORD = "s3cret\n', "line 2"),
        ("c.env", "A=x\nPGPASSWORD s3cret\n", "line 2"),
        ("c.env", "PGPASSWORD='s3cret\n", "line 1"),
        ("c.env", "PGPASSWORD=s3cret$NOPE\n", "NOPE"),
        ("c.json", '["s3cret"]', "no map"),
        ("c.json", '{"A": 1, "a": 2}', "A twice"),
        ("c.yaml", "? [s3cret]\n: 1\n", "line 1"),
        ("c.json", "[" * 100_000, "recursion"),
    ],
)
def test_broken_files_are_told_without_their_content(tmp_path: Path, name: str, text: str, where: str) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigError, match=where) as caught:
        read(path, text)
    assert str(path) in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b'{"A": "\xff"}')
    with pytest.raises(ConfigError, match="utf-8"):
        read_config_file(str(tmp_path / "c.json"), {})


@pytest.mark.parametrize("name", ["c.ini", "c.JSON", "c", "c.properties", "c.hcl"])
def test_unsupported_types(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="unsupported type"):
        read(tmp_path / name, "{}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir=str(tmp_path)))
    monkeypatch.setenv("HOME", "/nowhere")
    return tmp_path


def test_home_file_in_walgs_order(home: Path) -> None:
    assert find_config_file() == ""
    for name in (".walg.env", ".walg.yml", ".walg.yaml", ".walg.toml", ".walg.json"):
        (home / name).write_text("", encoding="utf-8")
        assert find_config_file() == str(home / name)


def test_a_user_without_passwd_entry_has_no_home_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert find_config_file() == ""


def test_home_file_is_read(home: Path) -> None:
    (home / ".walg.json").write_text('{"PGUSER": "home"}', encoding="utf-8")
    config = load_config({}, {})
    assert (config.text("PGUSER"), config.config_path) == ("home", str(home / ".walg.json"))


def test_a_home_file_that_walg_cannot_read_either_is_passed_over(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / ".walg.ini").write_text("", encoding="utf-8")
    assert load_config({}, {}).config_path == ""
    assert caplog.messages == [f"Failed to parse config file {home}/.walg.ini. Unsupported type."]


def test_a_broken_home_file_is_an_error(home: Path) -> None:
    (home / ".walg.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot parse"):
        load_config({}, {})


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.json").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        read_config_file(str(tmp_path / "c.json"), {})
