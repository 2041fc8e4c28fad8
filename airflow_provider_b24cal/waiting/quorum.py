"""How many of those waited for have to arrive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError

_SHARE: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?%")
_COUNT: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Quorum:
    """A part of those waited for: a number of them, or a share.

    :param text: as it was given, for logs and for the way to the triggerer.
    :param count: so many, however many are waited for.
    :param share: such a part of them, more than 0 and at most 1; rounded up.
    """

    text: str
    count: int | None = None
    share: Fraction | None = None

    def needed(self, total: int) -> int:
        """Return how many of ``total`` have to arrive."""
        if self.count is not None:
            return self.count
        assert self.share is not None
        return ceil(self.share * total)


ALL: Final = Quorum("all", share=Fraction(1))
ANY: Final = Quorum("any", count=1)


def check_quorum(value: object, argument: str = "require") -> Quorum:
    """Return what is required as a quorum.

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
    raise InvalidArgumentError(
        f"{argument}={ascii(value)[:80]} is not acceptable; accepted is 'all', 'any', a positive whole number, "
        "or a share from above 0% to 100% such as '60%'."
    )
