"""JSON Schemas of replies, connection extras and arguments, and the check of a value."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError


@cache
def document(name: str) -> dict[str, Any]:
    """Return the schema file ``<name>.json`` of this folder, parsed."""
    loaded: dict[str, Any] = json.loads(files(__package__).joinpath(f"{name}.json").read_text("utf-8"))
    return loaded


@cache
def _validator(name: str, part: str) -> Draft202012Validator:
    # The definition itself is the schema, with all definitions beside it for its references.
    definitions = document(name)["$defs"]
    return Draft202012Validator({**definitions[part], "$defs": definitions})


def mismatch(value: object, name: str, part: str) -> ValidationError | None:
    """Return how ``value`` differs from definition ``part`` of schema ``name``.

    :return: the most relevant mismatch, or ``None`` when the value fits.
    """
    if _fits_short(value, name, part) if isinstance(value, str) and len(value) < _SHORT else _fits(value, name, part):
        return None
    found: ValidationError | None = best_match(_validator(name, part).iter_errors(value))
    return found


def _fits(value: object, name: str, part: str) -> bool:
    return bool(_validator(name, part).is_valid(value))


# Fifty thousand answers are the same few letters; each is checked once.
_SHORT: Final = 16
_fits_short = lru_cache(maxsize=512)(_fits)


def expected(name: str, part: str) -> str:
    """Return the schema's own sentence about what definition ``part`` accepts."""
    definition = document(name)["$defs"][part]
    return str(definition.get("description", definition))
