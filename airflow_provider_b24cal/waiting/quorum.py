"""The quorum: how many meetings or attendees have to reach the target."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from airflow_provider_b24cal.bitrix24.validation import invalid

_SHARE: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?%")
_COUNT: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Quorum:
    """A number of meetings or attendees, or a share of them.

    :param text: as it was given, for logs and for the triggerer.
    :param count: the number.
    :param share: the share, more than 0 and at most 1; rounded up.
    """

    text: str
    count: int | None = None
    share: Fraction | None = None

    def needed(self, total: int) -> int:
        """Return how many of ``total`` have to reach the target."""
        if self.count is not None:
            return self.count
        assert self.share is not None
        return ceil(self.share * total)


ALL: Final = Quorum("all", share=Fraction(1))
ANY: Final = Quorum("any", count=1)


def check_quorum(value: object, argument: str = "require") -> Quorum:
    """Return the quorum of an argument.

    :param value: ``all``, ``any``, a positive whole number or its decimal text, or a share such as ``60%``.
    :raises InvalidArgumentError: the value is anything else.
    """
    text = str(value).strip().lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if text in {"all", "any"}:
        return ALL if text == "all" else ANY
    if _COUNT.fullmatch(text) and int(text) > 0:
        return Quorum(text, count=int(text))
    if _SHARE.fullmatch(text) and 0 < Fraction(text[:-1]) <= 100:
        return Quorum(text, share=Fraction(text[:-1]) / 100)
    raise invalid(argument, value, "'all', 'any', a positive whole number, or a share above 0% such as '60%'")
