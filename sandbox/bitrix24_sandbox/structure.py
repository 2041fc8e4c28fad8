"""The departments and groups of a data file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitrix24_sandbox import checks
from bitrix24_sandbox.checks import MAX_ID, BadInputError
from bitrix24_sandbox.models import Department, Group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    PersonCheck = Callable[[object, str], int]

COMPANY = {"id": 1, "name": "Company"}
"""The only department of a file that lists none."""
DEPARTMENT_KEYS = ("id", "name", "parent", "head")
GROUP_KEYS = ("id", "name", "owner", "moderators", "members")


def department_ids(items: Sequence[object]) -> list[int]:
    """Return the ids of departments, in the order given."""
    given = [checks.mapping(item, f"departments[{i}]", DEPARTMENT_KEYS, ("id", "name")) for i, item in enumerate(items)]
    ids = [checks.integer(one["id"], f"departments[{i}].id", 1, MAX_ID) for i, one in enumerate(given)]
    checks.unique(ids, "departments", "id")
    return ids


def departments(items: Sequence[object], ids: Sequence[int], person: PersonCheck) -> tuple[Department, ...]:
    """Return the departments of a file.

    :param ids: of the departments, in the same order.
    :param person: returns the id of somebody listed under ``people``.
    """
    return tuple(_department(item, f"departments[{i}]", ids[i], ids[:i], person) for i, item in enumerate(items))


def _department(item: object, field: str, own_id: int, before: Sequence[int], person: PersonCheck) -> Department:
    given = checks.mapping(item, field, DEPARTMENT_KEYS)
    parent, head = given.get("parent"), given.get("head")
    return Department(
        id=own_id,
        name=checks.text(given["name"], f"{field}.name"),
        # Listed before, so that no department is above itself.
        parent_id=None if parent is None else one_of(parent, f"{field}.parent", before, "a department before"),
        head_id=None if head is None else person(head, f"{field}.head"),
    )


def groups(items: Sequence[object], person: PersonCheck) -> tuple[Group, ...]:
    """Return the groups of a file.

    :param person: returns the id of somebody listed under ``people``.
    """
    found = tuple(_group(item, f"groups[{i}]", person) for i, item in enumerate(items))
    checks.unique([group.id for group in found], "groups", "id")
    return found


def _group(item: object, field: str, person: PersonCheck) -> Group:
    given = checks.mapping(item, field, GROUP_KEYS, ("id", "name", "owner"))
    owner_id = person(given["owner"], f"{field}.owner")
    moderators, members = (
        tuple(
            person(one, f"{field}.{key}[{i}]")
            for i, one in enumerate(checks.sequence(given.get(key, []), f"{field}.{key}"))
        )
        for key in ("moderators", "members")
    )
    checks.unique([owner_id, *moderators, *members], field, "person")
    return Group(
        id=checks.integer(given["id"], f"{field}.id", 1, MAX_ID),
        name=checks.text(given["name"], f"{field}.name"),
        owner_id=owner_id,
        moderators=moderators,
        members=members,
    )


def one_of(value: object, field: str, known: Sequence[int], what: str) -> int:
    """Return an id that is known.

    :param what: it is the id of, in words.
    """
    number = checks.integer(value, field, 1, MAX_ID)
    if number not in known:
        raise BadInputError(field, number, f"the id of {what}: {', '.join(map(str, known)) or 'there is none'}")
    return number
