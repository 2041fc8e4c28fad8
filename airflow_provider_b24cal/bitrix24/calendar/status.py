"""The letters of a participation status."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class MeetingStatus(StrEnum):
    """A meeting's participation status as the portal writes it.

    Portals hold a few letters that no document explains (``M`` in old rows). Such a letter is carried
    along as a member of its own: it equals none of the four below, and it can be overwritten.
    """

    ACCEPTED = "Y"
    """The user takes part."""
    DECLINED = "N"
    """The user does not take part."""
    NOT_ANSWERED = "Q"
    """The user has not answered the invitation."""
    ORGANISER = "H"
    """The user is the meeting's organiser; this never changes."""

    @classmethod
    def _missing_(cls, value: object) -> MeetingStatus | None:
        if not (isinstance(value, str) and len(value) == 1 and value.isascii() and value.isupper()):
            return None
        letter = str.__new__(cls, value)
        letter._name_ = f"LETTER_{value}"
        letter._value_ = value
        # One object a letter, so that `is` and pickling work as for the four members.
        kept = cls._value2member_map_.setdefault(value, letter)
        assert isinstance(kept, MeetingStatus)
        return kept


WORDS: Final = {
    MeetingStatus.ACCEPTED: "accepted",
    MeetingStatus.DECLINED: "declined",
    MeetingStatus.NOT_ANSWERED: "not answered",
    MeetingStatus.ORGANISER: "organiser",
}
"""The four statuses in words, for logs and pages."""
