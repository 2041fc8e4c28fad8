"""Parts of sentences, for logs and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMED: Final = 5


def printable(text: str) -> str:
    """Return a portal's text for a log or an error: characters that are not printable become spaces.

    A line break or an escape sequence would forge lines of the log, a bidirectional mark would reorder them, and a lone
    surrogate would break the handler that writes them.
    """
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)


def cut(text: str, length: int) -> str:
    """Return a text of at most ``length`` characters; of a longer one the beginning, with dots."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def name_ids(noun: str, ids: Sequence[int]) -> str:
    """Return ids for a sentence, the first five and how many more: ``events 651, 653 and 40 more``."""
    if not ids:
        return f"no {noun}s"
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"{noun if len(ids) == 1 else f'{noun}s'} {', '.join(map(str, ids[:_NAMED]))}{more}"
