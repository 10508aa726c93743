"""Parse typed fields of annotation and results entries; a ValueError describes the faulty field."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

NUMBERS = frozenset((int, float))  # Python types of JSON numbers, without bool
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_MOST_SHOWN = 60  # longest value shown in an error, in characters
MOST_PIXELS = 2**31 - 1  # limit for a frame: run lengths are 32-bit numbers
MOST_SIDE = 2**16 - 1  # pixels


def entry_of(value: Any) -> Mapping[str, Any]:
    """Check that an entry of a list is a JSON object."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown(value)} is not an object")
    return value


def integer(entry: Mapping[str, Any], key: str) -> int:
    """Read a 64-bit integer, also as text: `7`, `7.0` and `"7"` are the same id."""
    value = entry.get(key)
    found = as_integer(value)
    if found is None:
        what = f"{key} {shown(value)} is not a 64-bit integer" if key in entry else f"field '{key}' is missing"
        raise ValueError(what)
    return found


def as_integer(value: Any) -> int | None:
    """Convert a value as `integer` does; None if it is no 64-bit integer."""
    if type(value) is str and _INTEGER.fullmatch(value):
        value = int(value)
    elif type(value) is float and value.is_integer() and abs(value) <= 2**53:
        value = int(value)  # pandas writes ids as text
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def text(entry: Mapping[str, Any], key: str) -> str:
    """Read text: valid UTF-8, at most as long as a path may be; a number is converted to its digits."""
    if key not in entry:
        raise ValueError(f"field '{key}' is missing")
    return as_text(entry[key], key)


def as_text(value: Any, key: str) -> str:
    """Convert a value as `text` does; errors call it `key`."""
    found = str(value) if type(value) in (int, float) else value
    if not isinstance(found, str):
        raise ValueError(f"{key} {shown(value)} is not text")
    if not _is_utf8(found) or "\0" in found or len(found) > 4096:
        raise ValueError(f"{key} {shown(value)} is not valid text: UTF-8 without NUL, up to 4096 characters")
    return found


def size(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Read `height` and `width` of a frame in pixels."""
    height, width = integer(entry, "height"), integer(entry, "width")
    if not (0 < height <= MOST_SIDE and 0 < width <= MOST_SIDE and height * width <= MOST_PIXELS):
        raise ValueError(f"frames of {height} x {width} pixels (at most {MOST_SIDE} a side, {MOST_PIXELS} in all)")
    return height, width


def crowd(entry: Mapping[str, Any]) -> bool:
    """Read `iscrowd`: 0 or 1, false or true, "0" or "1"; null and absent mean 0."""
    value = entry.get("iscrowd")
    if value is None or value == "0":
        return False
    if value == "1":
        return True
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(f"iscrowd {shown(value)} is neither 0 nor 1")


def number(value: Any) -> float | None:
    """Convert to a finite float; None for anything else (null, text, NaN)."""
    if type(value) is float and math.isfinite(value):
        return value
    return float(value) if type(value) is int and abs(value) < 2**63 else None


def score(entry: Mapping[str, Any]) -> float:
    """Read `score` of a result: a finite number."""
    if "score" not in entry:
        raise ValueError("field 'score' is missing")
    found = number(entry["score"])
    if found is None:
        raise ValueError(f"score {shown(entry['score'])} is not a finite number")
    return found


def shown(value: Any) -> str:
    """Shorten a value for error messages."""
    kinds = {list: "a list", dict: "an object", type(None): "null"}
    if type(value) in kinds:
        return kinds[type(value)]
    if type(value) is int and abs(value) >= 10**_MOST_SHOWN:
        return "a number of many digits"
    told = repr(value)
    return told if len(told) <= _MOST_SHOWN else f"{told[:_MOST_SHOWN]}..."


def _is_utf8(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def other_class(entry: Mapping[str, Any], category: int, names: Mapping[int, str]) -> str | None:
    """What is wrong if a result names its class, in `category`, and its category_id is that of another one.

    `predict` writes the name; where it numbers classes itself, its ids can be those of other classes in a data set.
    None: it has no such name, the right one, or one that is not in `names`, the class names by category id.
    """
    said, own = entry.get("category"), names[category]
    if not isinstance(said, str) or said == own or said not in names.values():
        return None
    return f"category_id {category} is '{own}' in the annotations, the result's own category is '{said}'"
