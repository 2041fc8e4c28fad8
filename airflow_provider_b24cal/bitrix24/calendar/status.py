"""The participation statuses of meetings."""

from __future__ import annotations

from enum import StrEnum
from string import ascii_uppercase
from typing import Final


class MeetingStatus(StrEnum):
    """A meeting's participation status as the portal writes it.

    Portals hold a few letters that are not documented (``M`` in old rows). ``MeetingStatus("M")`` is a status too, but
    not a member: it equals none of the four below, and it can be overwritten.

    :ivar label: the status in words, such as ``not answered``, for logs.
    """

    label: str

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
        return _LETTERS.get(value) if isinstance(value, str) else None

    def __reduce_ex__(self, protocol: object) -> tuple[type[MeetingStatus], tuple[str]]:
        # Python 3.11.0 to 3.11.3 pickles by name, and letters that are no members are found by value only.
        return type(self), (self.value,)


def _from_letter(letter: str) -> MeetingStatus:
    status = str.__new__(MeetingStatus, letter)
    status._name_ = status._value_ = letter
    status.label = f"unknown letter {letter}"
    return status


# One object for each letter, so that `is` and pickling work as for the four members.
_LETTERS: Final = {letter: _from_letter(letter) for letter in ascii_uppercase}

MeetingStatus.ACCEPTED.label = "accepted"
MeetingStatus.DECLINED.label = "declined"
MeetingStatus.NOT_ANSWERED.label = "not answered"
MeetingStatus.ORGANISER.label = "organiser"

STATUSES: Final[dict[str, MeetingStatus]] = {**_LETTERS, **{one.value: one for one in MeetingStatus}}
"""Every status by its letter; for lists of many thousands, where ``MeetingStatus(letter)`` is slow."""
