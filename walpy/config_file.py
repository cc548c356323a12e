"""Reads WAL-G's configuration files: JSON, YAML, TOML and dotenv, each decoder imported when a file needs it.

Numbers become their shortest decimals, booleans `true` and `false`, nested values JSON: what a setting's text would be.
"""

import os
from collections.abc import Callable, Mapping

from walpy.errors import ConfigError

# Extensions of ~/.walg, in WAL-G's order.
SEARCHED = ("json", "toml", "yaml", "yml", "properties", "props", "prop", "hcl", "tfvars", "dotenv", "env", "ini")

Parser = Callable[[str, Mapping[str, str]], object]


def find_config_file() -> str:
    """The first existing `~/.walg.*`, in WAL-G's order; empty when there is none.

    Home is the passwd entry of the effective user, whatever $HOME says; as WAL-G does.
    """
    home = home_directory()
    candidates = (os.path.join(home, f".walg.{extension}") for extension in SEARCHED) if home else ()
    return next((path for path in candidates if os.path.isfile(path)), "")


def home_directory() -> str:
    """Where the configuration file is searched; empty for a container's user without a passwd entry."""
    import pwd  # only on this path: the search is skipped when a file is given

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""


def is_readable_type(path: str) -> bool:
    """Whether a decoder exists for the file's extension; as in WAL-G, `.ini`, `.hcl` and properties have none."""
    return _extension(path) in _PARSERS


def read_config_file(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Read the settings of a file: upper-case keys, values as text; null and empty values are left out.

    environ: for `$NAME` in dotenv files. Raises ConfigError when the file cannot be read or understood, and for a key
    given in two spellings of upper and lower case (WAL-G takes either, by chance).
    """
    parse = _PARSERS.get(_extension(path))
    if parse is None:
        raise ConfigError(
            f"unsupported type of configuration file: {path!r}", "Name it .json, .yaml, .yml, .toml, .env or .dotenv."
        )
    try:
        with open(path, encoding="utf-8-sig") as file:
            document = parse(file.read(), environ)
    except OSError as error:
        raise ConfigError(
            f"cannot read configuration file {path!r}: {error.strerror}", "Correct the path or the file's permissions."
        ) from None
    except (ValueError, RecursionError) as error:  # JSONDecodeError, TOMLDecodeError, UnicodeDecodeError, ours
        raise ConfigError(f"cannot parse configuration file {path!r}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"configuration file {path!r} holds no map of keys and values")
    return _settings(document, path)


def _settings(document: dict[object, object], path: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in document.items():
        key = str(name).upper()
        if key in seen:
            raise ConfigError(f"configuration file {path!r} gives {key} twice, in upper and lower case")
        seen.add(key)
        text = as_text(value)
        if text:
            settings[key] = text
    return settings


def as_text(value: object) -> str:
    """A decoded value as the text of a setting; empty for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _shortest_decimal(value)
    if isinstance(value, dict | list):
        import json  # only nested values need it

        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def _shortest_decimal(value: float) -> str:
    """The shortest decimals that read back as the same float, never with an exponent: 1e-07 is 0.0000001."""
    if value.is_integer():
        return str(int(value))
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    # An exponent that is not a whole number's is negative. The digits are repr's own: a format with as many decimals
    # would round the float's exact value again, half to even, and can end in another digit.
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.removeprefix("-").replace(".", "")
    return f"{sign}0.{'0' * (-int(exponent) - 1)}{digits}"


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].removeprefix(".") or os.path.basename(path).removeprefix(".")


def _parse_json(text: str, _environ: Mapping[str, str]) -> object:
    import json

    return json.loads(text)


def _parse_toml(text: str, _environ: Mapping[str, str]) -> object:
    import tomllib

    return tomllib.loads(text)


def _parse_yaml(text: str, _environ: Mapping[str, str]) -> object:
    from walpy.config_yaml import parse_yaml  # brings PyYAML

    return parse_yaml(text)


def _parse_dotenv(text: str, environ: Mapping[str, str]) -> object:
    from walpy.config_dotenv import parse_dotenv  # its patterns take a while to compile

    return parse_dotenv(text, environ)


_PARSERS: dict[str, Parser] = {
    "json": _parse_json,
    "yaml": _parse_yaml,
    "yml": _parse_yaml,
    "toml": _parse_toml,
    "env": _parse_dotenv,
    "dotenv": _parse_dotenv,
}
