"""A judge of JSON Schemas for tests, for the keywords that our contract uses; any other keyword is an error, never passed over."""

import json
import re
from datetime import datetime
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float), "null": (type(None),),
}  # fmt: skip
_SAYS_NOTHING = {"$schema", "$defs", "title", "description", "default", "examples"}


def faults(value: object, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "$") -> list[str]:
    """Where and by which keyword a value breaks a schema; empty when it is valid."""
    root = root or schema
    found: list[str] = []
    for keyword, wanted in schema.items():
        if keyword not in _SAYS_NOTHING:
            found += _judge(keyword, wanted, value, root, at)
    return found


def _judge(keyword: str, wanted: Any, value: Any, root: dict[str, Any], at: str) -> list[str]:
    if keyword == "$ref":
        return faults(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, at)
    if keyword == "properties":
        given = value if isinstance(value, dict) else {}
        return [fault for name in wanted.keys() & given.keys() for fault in faults(given[name], wanted[name], root, f"{at}.{name}")]
    if keyword == "items":
        given = value if isinstance(value, list) else []
        return [fault for number, one in enumerate(given) for fault in faults(one, wanted, root, f"{at}[{number}]")]
    return [] if _holds(keyword, wanted, value, root) else [f"{at}: {keyword}"]


def _holds(keyword: str, wanted: Any, value: Any, root: dict[str, Any]) -> bool:
    text = value if isinstance(value, str) else None
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    fields = value.keys() if isinstance(value, dict) else None
    rules = {
        "type": lambda: isinstance(value, _TYPES[wanted]) and not isinstance(value, bool),
        "anyOf": lambda: any(not faults(value, one, root) for one in wanted),
        "not": lambda: bool(faults(value, wanted, root)),
        "const": lambda: json.dumps(value) == json.dumps(wanted),
        "enum": lambda: json.dumps(value) in [json.dumps(one) for one in wanted],
        "required": lambda: fields is None or fields >= set(wanted),
        "additionalProperties": lambda: wanted is True,
        "minimum": lambda: number is None or number >= wanted,
        "maximum": lambda: number is None or number <= wanted,
        "minLength": lambda: text is None or len(text) >= wanted,
        "maxLength": lambda: text is None or len(text) <= wanted,
        "maxItems": lambda: not isinstance(value, list) or len(value) <= wanted,
        "pattern": lambda: text is None or re.search(wanted, text) is not None,
        "format": lambda: wanted == "date-time" and (text is None or _is_moment(text)),
    }
    return rules[keyword]()


def _is_moment(text: str) -> bool:
    """RFC 3339: date, time and zone."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None and "T" in text
    except ValueError:
        return False
