"""PHP values and the casts a portal applies to what it receives.

A portal is written in PHP, and what it does with a wrong argument follows from PHP's rules: ``"651abc"``
is the number 651, a non-empty array is the number 1. PHP has one container, the ordered array, for
lists and maps alike; it is a ``dict`` here.
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

PhpKey: TypeAlias = int | str
PhpValue: TypeAlias = "bool | int | float | str | dict[PhpKey, PhpValue] | None"
PhpArray: TypeAlias = dict[PhpKey, PhpValue]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_DECIMAL_KEY = re.compile(r"(?:0|-?[1-9][0-9]*)\Z", re.ASCII)
_NUMERIC_PREFIX = re.compile(r"[ \t\n\r\v\f]*([+-]?(?:\d+(\.\d*)?|(\.\d+))([eE][+-]?\d+)?)", re.ASCII)


def key(text: str) -> PhpKey:
    """Return an array key as PHP stores it: decimal text in its shortest form becomes an integer."""
    if _DECIMAL_KEY.match(text) and len(text) <= 20 and INT_MIN <= int(text) <= INT_MAX:
        return int(text)
    return text


def array(value: object) -> PhpValue:
    """Return decoded JSON as a PHP value: lists and maps both become ordered arrays.

    :param value: anything built of ``None``, booleans, numbers, text, lists, tuples and dicts.
    """
    if isinstance(value, list | tuple):
        return {index: array(item) for index, item in enumerate(value)}
    if isinstance(value, dict):
        return {key(str(name)): array(item) for name, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and not INT_MIN <= value <= INT_MAX:
        return float(value) if abs(value) < 10**308 else math.copysign(math.inf, value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no PHP value for {type(value).__name__}")


def is_empty(value: PhpValue) -> bool:
    """Return what PHP's ``empty()`` returns: ``null``, ``false``, ``0``, ``""``, ``"0"`` and ``[]`` are empty."""
    return value in (None, False, 0, "", "0") or value == {}


def to_int(value: PhpValue) -> int:
    """Return ``(int)$value``."""
    if isinstance(value, dict):
        return 1 if value else 0
    if isinstance(value, str):
        return _text_to_int(value)
    if isinstance(value, float):
        return _float_to_int(value)
    return 0 if value is None else int(value)


def _text_to_int(text: str) -> int:
    found = _NUMERIC_PREFIX.match(text)
    if found is None:
        return 0
    if any(found.group(2, 3, 4)):
        number = float(found.group(1))
        return 0 if math.isnan(number) else int(max(INT_MIN, min(number, float(INT_MAX - 1023))))
    digits = found.group(1)
    if len(digits) > 20:
        return INT_MIN if digits.startswith("-") else INT_MAX
    return max(INT_MIN, min(int(digits), INT_MAX))


def _float_to_int(number: float) -> int:
    if not math.isfinite(number):
        return 0
    whole = int(number)
    if INT_MIN <= whole <= INT_MAX:
        return whole
    wrapped = whole % 2**64
    return wrapped - 2**64 if wrapped > INT_MAX else wrapped


def to_text(value: bool | int | float | str | None) -> str:
    """Return ``(string)$value`` of a scalar."""
    if isinstance(value, bool):
        return "1" if value else ""
    if isinstance(value, float):
        return float_text(value)
    return "" if value is None else str(value)


def text_or_empty(value: PhpValue) -> str:
    """Return a parameter as text; an array in its place counts as empty."""
    return "" if isinstance(value, dict) else to_text(value)


def float_text(number: float) -> str:
    """Return a float as PHP prints it: no fraction when whole, ``1.0e-5`` for what Python calls ``1e-05``."""
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    text = repr(number)
    mantissa, mark, exponent = text.partition("e")
    if not mark:
        return text
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}"


def is_list(value: PhpArray) -> bool:
    """Return whether an array prints as a JSON list: its keys are 0, 1, 2 … in this order."""
    return all(index == name for index, name in enumerate(value))
