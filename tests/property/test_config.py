"""Whatever the text: a setting is read as meant, or refused; what was written to a file comes back."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from walpy import values
from walpy.config import Config, split_setting_flags
from walpy.config_dotenv import parse_dotenv
from walpy.config_file import as_text, read_config_file
from walpy.config_yaml import parse_yaml
from walpy.errors import ConfigError, UsageError

INT64 = st.integers(-(2**63), 2**63 - 1)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1)


@given(INT64)
def test_integers_in_every_base(number: int) -> None:
    for text in (str(number), hex(number), oct(number), bin(number), f"{number:_}", f"{number}.9"):
        assert values.parse_integer(text) == number
    assert values.parse_decimal(str(number)) == number


@given(st.text())
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (values.parse_integer, values.parse_decimal, values.parse_duration, values.parse_size):
        with suppress(ValueError):
            assert isinstance(parse(text), int | float)


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations_add_up(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    assert values.parse_duration(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_as_plain_decimals(number: float) -> None:
    text = as_text(number)
    assert float(text) == number
    assert "e" not in text.lower()


@given(st.dictionaries(st.from_regex("[A-Z_]{1,12}", fullmatch=True), WORDS | st.integers() | st.booleans()))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_of_every_type_say_the_same(tmp_path: Path, document: dict[str, str | int | bool]) -> None:
    expected = {key: as_text(value) for key, value in document.items()}
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in document.items()}
    texts = {
        "c.json": json.dumps(document),
        "c.yaml": "".join(f'"{key}": {value}\n' for key, value in quoted.items()),
        "c.toml": "".join(f"{key} = {value}\n" for key, value in quoted.items()),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_config_file(str(tmp_path / name), {}) == expected


@given(st.text())
@settings(deadline=None)
def test_any_text_is_a_file_or_a_value_error(text: str) -> None:
    for parse in (parse_yaml, lambda text: parse_dotenv(text, {})):
        with suppress(ValueError):
            parse(text)


@given(WORDS)
def test_single_quotes_keep_everything(value: str) -> None:
    if "'" not in value:
        assert parse_dotenv(f"A='{value}'", {}) == {"A": value}


@given(
    st.lists(st.sampled_from(["wal-push", "-f", "x", "--pghost", "--pghost=h", "--turbo", "--config", "--", "--json"]))
)
def test_splitting_loses_nothing(argv: list[str]) -> None:
    try:
        rest, flags, config_path = split_setting_flags(argv)
    except UsageError:
        assert argv[-1] in ("--pghost", "--config")
        return
    words = iter(argv)
    assert all(word in words for word in rest), "not in order"
    if "--pghost=h" not in argv and "--pghost" not in argv:
        assert "PGHOST" not in flags
    if "--config" not in argv:
        assert config_path == ""


@given(st.dictionaries(st.sampled_from(["PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "WALG_PGP_KEY"]), st.text(min_size=12)))
def test_no_secret_is_ever_in_a_repr(secrets: dict[str, str]) -> None:
    config = Config.from_mapping(secrets)
    shown = repr(config) + repr(config.settings) + " ".join(config.child_arguments())
    assert not any(repr(secret)[1:-1] in shown for secret in secrets.values())


@given(st.sampled_from(["WALG_UPLOAD_QUEUE", "S3_MAX_RETRIES"]), st.text(st.characters(categories=["L"]), min_size=1))
def test_a_wrong_value_is_one_error_naming_its_key(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key} has the wrong value"):
        Config.from_mapping({key: text}).integer(key)
