"""The tree and the table: complete, consistent, and able to travel."""

from __future__ import annotations

import pickle
import re

import pytest

from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.error_codes import CODES, meaning_of_code
from airflow_provider_b24cal.bitrix24.protocol.errors import CLASSES, Bitrix24Error, Permanence, error_from_dict


def test_the_drawing_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    parents = ["Bitrix24Error"]
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ((?:│   |    )*)[├└]── (\w+)", line)
        if found:
            depth = len(found[1]) // 4 + 1
            parents[depth:] = [found[2]]
            drawn[found[2]] = parents[depth - 1]
    real = {name: kind.__mro__[1].__name__ for name, kind in CLASSES.items() if kind is not Bitrix24Error}
    assert drawn == real


def test_codes_are_in_lower_case_and_advise() -> None:
    for code, meaning in CODES.items():
        assert code == code.lower()
        assert meaning.advice.endswith(".")
        assert issubclass(meaning.error, errors.PortalError)


@pytest.mark.parametrize("kind", CLASSES.values(), ids=lambda kind: kind.__name__)
def test_errors_travel_whole(kind: type[Bitrix24Error]) -> None:
    error = kind(
        "What happened.", code="", http_status=400, method="m", event_id=651,
        permanence=Permanence.AMBIGUOUS, retry_after=2.5, cause="OSError",
    )  # fmt: skip
    for again in (pickle.loads(pickle.dumps(error)), error_from_dict(error.to_dict())):
        assert type(again) is kind
        assert again.to_dict() == error.to_dict()
        assert str(again) == "What happened. (m, event 651, code '', HTTP 400, after OSError)"


def test_usage_errors_are_value_errors() -> None:
    assert isinstance(errors.InvalidArgumentError("no"), ValueError)


@pytest.mark.parametrize(
    ("code", "status", "permanence"),
    [("new", 400, "permanent"), ("new", 429, "transient"), ("new", 503, "ambiguous"), ("new", None, "permanent")],
)
def test_an_unknown_code_is_judged_by_status(code: str, status: int | None, permanence: str) -> None:
    meaning = meaning_of_code(code, status)
    assert meaning.error("no", permanence=meaning.permanence).permanence == permanence
