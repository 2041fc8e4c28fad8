"""The data of the test portal: its users, its meetings, and their ids by what they are to user 1."""

from __future__ import annotations

CANARY = "c4n4ryQ7x9z2w5k8"
"""The webhook code of the acting user; it must be seen nowhere but on the wire."""

SILENT, ACCEPTED, DECLINED, HOSTED, FOREIGN, PLAIN, DELETED_FOR_ME, NOTIFYING = range(101, 109)
"""Event ids of the test portal, by what they are to user 1."""
UNKNOWN = 99_999
MANY = range(1001, 1121)
"""Ids of a hundred and twenty meetings that user 1 has not answered."""


def portal_data() -> object:
    """Return the data of the test portal, in the form of the sandbox's data files."""
    day = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00"}

    def meeting(
        event_id: int, name: str, host: int, *attendees: dict[str, object], **more: object
    ) -> dict[str, object]:
        return {"id": event_id, "name": name, "host": host, **day, "attendees": list(attendees), **more}

    return {
        "people": [
            {"id": 1, "name": "Anna", "last_name": "Orlova", "webhook": {"secret": CANARY, "scopes": ["calendar"]}},
            {"id": 2, "name": "Martin", "last_name": "Keller", "webhook": {"secret": "m4rt1nC0de000000"}},
            {"id": 3, "name": "Irina", "webhook": {"secret": "1r1naC0de0000000", "scopes": ["user"]}},
            {"id": 4, "name": "Gone", "active": False, "webhook": {"secret": "g0neC0de00000000"}},
        ],
        "events": [
            meeting(SILENT, "Budget", 2, {"user": 1}, {"user": 3}),
            meeting(ACCEPTED, "Planning", 2, {"user": 1, "status": "Y"}),
            meeting(DECLINED, "Review", 2, {"user": 1, "status": "N"}),
            meeting(HOSTED, "My own", 1, {"user": 2}),
            meeting(FOREIGN, "Others", 2, {"user": 3}),
            {"id": PLAIN, "name": "Doctor", "host": 1, **day},
            meeting(DELETED_FOR_ME, "Removed", 2, {"user": 1, "status": "N", "removed": True}),
            meeting(NOTIFYING, "With notices", 2, {"user": 1}, notify=True),
            *(meeting(number, f"Meeting {number}", 2, {"user": 1, "id": number + 1000}) for number in MANY),
        ],
    }
