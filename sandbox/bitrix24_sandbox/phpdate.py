"""Dates in parameters, as PHP understands them.

A date PHP cannot read is no error: the portal goes on as if it had not been given.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox.php import to_text

if TYPE_CHECKING:
    from bitrix24_sandbox.php import PhpValue

# Of the many forms PHP knows these are the ones people send. Slashes mean month first, and a bare number is
# not the epoch time it was meant as.
_DATES = (r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})", r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})",
          r"(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d{4})")  # fmt: skip
_CLOCK = r"(?:[T ](?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:\.\d+)?)? ?(?P<zone>Z|[+-]\d{2}:?[0-5]\d)?)?"
_FORMS = tuple(re.compile(rf"\s*{date}{_CLOCK}\s*", re.ASCII | re.IGNORECASE) for date in _DATES)


def moment(value: PhpValue, server_zone: str) -> datetime | None:
    """Return the moment a parameter means, or ``None`` when it means none.

    :param server_zone: holds where the parameter names no offset.
    """
    if value is None or isinstance(value, bool | dict):
        return None
    text = to_text(value)
    found = next((match for form in _FORMS if (match := form.fullmatch(text))), None)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[name] or 0) for name in "ymdHMS")
    if not (1900 <= year <= 9000 and 1 <= month <= 12 and day <= 31 and hour <= 24 and minute < 60 and second < 60):
        return None
    # PHP lets the 30th of February run over into March, and hour 24 into the next day.
    try:
        wall = datetime(year, month, 1) + timedelta(days=day - 1, hours=hour, minutes=minute, seconds=second)  # noqa: DTZ001
    except OverflowError:
        return None
    return wall.replace(tzinfo=_zone(found["zone"], server_zone))


def _zone(text: str | None, server_zone: str) -> timezone | ZoneInfo:
    if text is None:
        return ZoneInfo(server_zone)
    if text in "Zz":
        return ZoneInfo("UTC")
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]) % 24, minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
