"""dotenv files (`KEY=VALUE` lines) as WAL-G's decoder reads them."""

import re
from collections.abc import Mapping

_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<key>[A-Za-z0-9_.]+)(?:\s*=\s*|:\s+)
        (?:'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|(?P<plain>[^'"\#][^\#]*)?)
        \s*(?:\#.*)?""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\([^$])")
_VARIABLE = re.compile(r"\\\$|\$\{([A-Z0-9_]+)\}|\$([A-Z0-9_]+)")


def parse_dotenv(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Decode lines of `KEY=VALUE`, `export KEY="VALUE"` or `KEY: 'VALUE'`; `#` begins a comment.

    `$NAME` and `${NAME}` are replaced outside single quotes, from earlier lines or environ. Raises ValueError for any
    other line and for an unset NAME; the line's content, which may be a secret, is not in the message.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not KEY=VALUE")
        try:
            values[match["key"]] = _value(match, {**environ, **values})
        except KeyError as error:
            raise ValueError(
                f"line {number} uses the unset variable {error.args[0]}; a literal $ is written \\$ or in single quotes"
            ) from None
    return values


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        text = _ESCAPE.sub(lambda escape: {"n": "\n", "r": "\r"}.get(escape[1], escape[1]), match["double"])
    else:
        text = (match["plain"] or "").strip()
    return _VARIABLE.sub(lambda found: variables[found[1] or found[2]] if found[0] != "\\$" else "$", text)
