"""Texts that depend on the portal's language."""

from __future__ import annotations

TEXTS = {
    "required": {
        "en": 'The required parameter "{name}" is not set for the method "{method}".',
        "ru": "Для метода «{method}» обязателен параметр «{name}».",
    },
    "status": {
        "en": "An error occurred while retrieving the status.",
        "ru": "Произошла ошибка при получении статуса.",
    },
    "value": {
        "en": 'Invalid value of parameter "{name}".',
        "ru": "Неверное значение параметра «{name}».",
    },
    "access": {"en": "Access denied.", "ru": "Доступ запрещён."},
    "repeats": {"en": "Repeats ({rule}) from {start}", "ru": "Повторяется ({rule}), начало {start}"},
    "busy": {"en": "Busy", "ru": "Занят"},
    "quest": {"en": "Not sure", "ru": "Под вопросом"},
    "free": {"en": "Free", "ru": "Свободен"},
    "absent": {"en": "Out of office", "ru": "Отсутствую"},
}


def say(text: str, language: str, **values: str) -> str:
    """Return a text in a language.

    :param text: its name in :data:`TEXTS`.
    :param values: what to fill in.
    """
    return TEXTS[text][language].format_map(values)
