"""A portal with departments, groups and webhooks of every scope, for tests about people."""

from __future__ import annotations

SCOPES = ["calendar", "user_brief", "im", "sonet_group", "department"]
WITHOUT = {scope: number for number, scope in enumerate(SCOPES, start=2)}
"""By scope, the user whose webhook lacks it."""
CROWD = range(101, 221)
"""A hundred and twenty users of one department; every tenth is dismissed."""


def company() -> object:
    """Return the data, in the form of the sandbox's data files."""
    lacking = [
        {
            "id": number,
            "name": f"Without {scope}",
            "webhook": {"secret": f"without{number}C0de00000", "scopes": [one for one in SCOPES if one != scope]},
        }
        for scope, number in WITHOUT.items()
    ]
    crowd = [{"id": one, "name": f"P{one}", "departments": [5], "active": one % 10 != 0} for one in CROWD]
    return {
        "people": [
            {"id": 1, "name": "Anna", "webhook": {"secret": "annaC0de00000000", "scopes": SCOPES}},
            *lacking,
            {"id": 21, "name": "Head", "departments": [2]},
            {"id": 22, "name": "In both", "departments": [3, 2]},
            {"id": 23, "name": "Below", "departments": [3]},
            {"id": 24, "name": "Dismissed", "departments": [3], "active": False},
            {"id": 25, "name": "Guest", "external": True},
            *crowd,
        ],
        "departments": [
            {"id": 1, "name": "Company"},
            {"id": 2, "name": "Engineering", "parent": 1},
            {"id": 3, "name": "Data platform", "parent": 2},
            {"id": 4, "name": "Empty", "parent": 1},
            {"id": 5, "name": "Crowd", "parent": 1},
            *({"id": number, "name": f"Team {number}", "parent": 5} for number in range(1000, 1120)),
        ],
        "groups": [{"id": 7, "name": "Migration", "owner": 23, "moderators": [1], "members": [22, 24, 25]}],
        "events": [],
    }
