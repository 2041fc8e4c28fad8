from __future__ import annotations

import json

import pytest
from bitrix24_sandbox.php import array, float_text, is_empty, to_int, to_text
from bitrix24_sandbox.phpjson import decode_array, encode
from bitrix24_sandbox.phpquery import parse_str, split_command


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("651", 651), ("651abc", 651), (" 651", 651), ("651 ", 651), ("\n651", 651), ("651.9", 651),
        (651.9, 651), (-1.9, -1), ("-5", -5), ("+5", 5), ("1e3", 1000), ("1e", 1), (".9", 0), ("1.", 1),
        ("abc", 0), ("", 0), ("0x1A", 0), ("00", 0), ("٣", 0), (None, 0), (True, 1), (False, 0),
        ([], 0), ([0], 1), ({"a": None}, 1), ("9" * 30, 2**63 - 1), ("-" + "9" * 30, -(2**63)),
        ("9223372036854775808", 2**63 - 1), (1e300, 0), (2.0**63, -(2**63)), (float("inf"), 0),
    ],
)  # fmt: skip
def test_int_cast(value: object, expected: int) -> None:
    assert to_int(array(value)) == expected


@pytest.mark.parametrize("value", [None, False, 0, 0.0, -0.0, "", "0", [], {}])
def test_empty(value: object) -> None:
    assert is_empty(array(value))


@pytest.mark.parametrize("value", [True, 1, -1, 0.1, "00", "0.0", " ", "false", [0], {"a": 0}])
def test_not_empty(value: object) -> None:
    assert not is_empty(array(value))


@pytest.mark.parametrize(("value", "expected"), [(True, "1"), (False, ""), (None, ""), (1.0, "1"), (2, "2")])
def test_text_cast(value: bool | int | float | str | None, expected: str) -> None:
    assert to_text(value) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1.5, "1.5"), (3.0, "3"), (1e-05, "1.0e-5"), (2.5e-07, "2.5e-7"), (1e30, "1.0e+30")],
)
def test_float_text(number: float, expected: str) -> None:
    assert float_text(number) == expected
    assert json.loads(expected) == number


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a=1&a=2", {"a": "2"}),
        ("a", {"a": ""}),
        ("&&a=1&", {"a": "1"}),
        ("=1", {}),
        ("a.b=1&c d=2&c+e=3", {"a_b": "1", "c_d": "2", "c_e": "3"}),
        ("%20a=1", {"a": "1"}),
        ("a%5Bb%5D=1", {"a": {"b": "1"}}),
        ("a[]=1&a[]=2", {"a": {0: "1", 1: "2"}}),
        ("a[5]=1&a[]=2", {"a": {5: "1", 6: "2"}}),
        ("a[07]=1&a[-1]=2", {"a": {"07": "1", -1: "2"}}),
        ("a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        ("a=1&a[b]=2", {"a": {"b": "2"}}),
        ("a[b=1", {"a_b": "1"}),
        ("a[b][c=1", {"a": {"b": "1"}}),
        ("a[b]c=1", {"a": {"b": "1"}}),
        ("a[b.c]=1", {"a": {"b.c": "1"}}),
        ("[a]=1", {}),
        ("a=%D0%AF+%2B", {"a": "Я +"}),
        ("a=1=2", {"a": "1=2"}),
        ("a%00b=1", {"a": "1"}),
        ("7=x", {7: "x"}),
    ],
)
def test_parse_str(query: str, expected: object) -> None:
    assert parse_str(query) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("profile", ("profile", "")),
        ("m?a=1", ("m", "a=1")),
        ("m?a=1#b=2", ("m", "a=1")),
        ("m#x?a=1", ("m", "")),
        ("m?a=1?b=2", ("m", "a=1?b=2")),
        ("m?a=http://x:80", ("m", "a=http://x:80")),
        ("/m?a=1", ("/m", "a=1")),
        ("m:80", ("", "")),
        ("m:80?a=1", ("", "a=1")),
        ("m_n:80", ("", "")),
        ("x:profile", ("profile", "")),
        ("m:", ("", "")),
        ("?a=1", ("", "a=1")),
        ("", ("", "")),
    ],
)
def test_split_command(command: str, expected: tuple[str, str]) -> None:
    assert split_command(command) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a/b", r'"a\/b"'),
        ("\"'<>&", r'"\u0022\u0027\u003C\u003E\u0026"'),
        ("Я é 😀", '"Я é 😀"'),
        ("\\ \n \t \x01 \x1f \x7f", '"\\\\ \\n \\t \\u0001 \\u001f \x7f"'),
        ("\u2028", r'"\u2028"'),
        ("\udc80", '"\ufffd"'),
        ([], "[]"),
        ({}, "[]"),
        ([1, None, True, False, 1.5, 2.0], "[1,null,true,false,1.5,2]"),
        ({"0": 1, "1": 2}, "[1,2]"),
        ({"1": 1}, '{"1":1}'),
        ({"1": 1, "0": 2}, '{"1":1,"0":2}'),
        ({"a/": {"b": []}}, r'{"a\/":{"b":[]}}'),
        ("", '""'),
    ],
)
def test_json(value: object, expected: str) -> None:
    assert encode(array(value)) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"1", b"null", b'"a"', b"[1", b"{'a':1}", b"\xff", b'{"a": NaN}', b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}", b'{"a":1} x', b"[" * 100_000,
    ],
)  # fmt: skip
def test_body_that_is_no_array_is_dropped(body: bytes) -> None:
    assert decode_array(body) == {}


def test_body_becomes_array() -> None:
    decoded = decode_array(b'{"a":[1,{"0":true}],"7":123456789012345678901234567890}')
    assert decoded == {"a": {0: 1, 1: {0: True}}, 7: 1.2345678901234568e29}
    assert isinstance(decoded[7], float)
