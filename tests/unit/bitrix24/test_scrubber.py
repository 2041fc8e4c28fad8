"""A secret is recognised however a portal or a gateway may spell it."""

from __future__ import annotations

import json
from html import escape
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_b24cal.bitrix24.auth.credentials import Scrubber, Secret, hide_webhook_paths

SECRETS = ["c4n4ryQ7x9z2w5k8", "a b/c+d%e", "\u043f@\u0440\u043e\u043b\u044c'x\"<&", "back\\slash.and*star"]
SPELLINGS = {
    "as it is": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded in lower case": lambda text: quote(text, safe="").lower(),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "as a form": quote_plus,
    "as a path": quote,
    "HTML": escape,
    "HTML by numbers": lambda text: "".join(one if one.isalnum() else f"&#{ord(one)};" for one in text),
    "HTML by hexadecimal numbers": lambda text: "".join(
        one if one.isalnum() else f"&#x{ord(one):02X};" for one in text
    ),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "Python": lambda text: ascii(text)[1:-1],
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_hidden(spelling: str, secret: str) -> None:
    text = f"no such page: {SPELLINGS[spelling](secret)}!"
    assert Scrubber(Secret(secret))(text) == "no such page: ***!"


@pytest.mark.parametrize("secret", SECRETS)
def test_other_text_stays(secret: str) -> None:
    assert Scrubber(Secret(secret))("The meeting 651 was not found.") == "The meeting 651 was not found."


@pytest.mark.parametrize(
    "path",
    [
        "/rest/1/c0de/profile",
        "/rest/anna%40example.com/c0de%2Ff/profile",
        "\\/rest\\/1\\/c0de\\/",
        "%2Frest%2F1%2Fc0de%2F",
        "%2frest%2f1%2fc0de%2f",
        "%252Frest%252F1%252Fc0de%252F",
        "&#x2F;rest&#x2F;1&#x2F;c0de&#x2F;",
        "&#47;rest&#47;1&#47;c0de&#47;",
        "/rest/api/1/c0de/x",
    ],
)
def test_a_webhook_s_path_is_hidden_without_knowing_its_code(path: str) -> None:
    assert "c0de" not in hide_webhook_paths(f"POST {path} HTTP/1.1")
