"""YAML as WAL-G's decoder reads it (YAML 1.2 core, plus `0777` as octal): `yes` and `on` stay text.

PyYAML resolves by the rules of YAML 1.1, so only its syntax is used here, and plain scalars are resolved by ours.
"""

import re

import yaml

from walpy.values import TRUE_WORDS

_NULL_WORDS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN_WORDS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_OCTAL = re.compile(r"[+-]?0[0-7]+")
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)")
_FLOAT = re.compile(r"[+-]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][+-]?[0-9]+)?")


def parse_yaml(text: str) -> object:
    """Decode one YAML document; None for an empty one.

    Raises ValueError naming the line; the line's content, which may be a secret, is not in the message.
    """
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{error.problem or 'invalid YAML'} in line {line}") from None
    except yaml.YAMLError:
        raise ValueError("invalid YAML") from None
    return None if root is None else _value(root)


def _value(node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node.value) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    return _mapping(node)


def _mapping(node: yaml.Node) -> dict[str, object]:
    own: dict[str, object] = {}
    merged: dict[str, object] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"a key in line {key.start_mark.line + 1} is no text")
        if key.value == "<<" and key.style is None:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                merged = {**_mapping(source), **merged}
        elif key.value in own:
            raise ValueError(f"key {key.value!r} is given twice, again in line {key.start_mark.line + 1}")
        else:
            own[key.value] = _value(value)
    return {**merged, **own}


def _scalar(text: str) -> object:
    if text in _NULL_WORDS:
        return None
    if text in _BOOLEAN_WORDS:
        return text in TRUE_WORDS
    digits = text.replace("_", "")
    if _OCTAL.fullmatch(digits):
        return int(digits, 8)
    if _INTEGER.fullmatch(digits):
        return int(digits, 0)
    if _FLOAT.fullmatch(digits):
        return float(digits)
    return text
