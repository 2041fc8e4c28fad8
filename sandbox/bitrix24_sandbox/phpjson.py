"""JSON as a portal prints and reads it.

Slashes, quotes, angle brackets and ampersands are escaped, other characters go out raw; an array prints
as a list exactly when its keys are 0, 1, 2 …, so an empty map is ``[]``.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from bitrix24_sandbox.php import PhpArray, PhpValue, array, float_text, is_list

_SHORT = {"/": r"\/", "\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_SPECIAL = re.compile("[\x00-\x1f\"'<>&/\\\\\u2028\u2029\ud800-\udfff]")


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"
    if char in _SHORT:
        return _SHORT[char]
    # PHP prints the escapes of quotes, brackets and ampersand in upper case, all others in lower case.
    return f"\\u{ord(char):04X}" if char in "\"'<>&" else f"\\u{ord(char):04x}"


def _text(text: str) -> str:
    return f'"{_SPECIAL.sub(_escape, text)}"'


def encode(value: PhpValue) -> str:
    """Return a value as the JSON text a portal sends."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return _encode_array(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return float_text(value)
    return str(value)


def _encode_array(value: PhpArray) -> str:
    if is_list(value):
        return f"[{','.join(encode(item) for item in value.values())}]"
    return f"{{{','.join(f'{_text(str(name))}:{encode(item)}' for name, item in value.items())}}}"


def decode_array(body: bytes) -> PhpArray:
    """Return a request body as an array; anything PHP would not accept as one is an empty array.

    A portal reports no parse error: the method runs as if the body had not been sent.

    :param body: the raw request body.
    """
    try:
        value = array(json.loads(body.decode("utf-8"), parse_constant=_refuse))
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
