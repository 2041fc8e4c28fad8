"""How well the texts of a page stand out."""

from __future__ import annotations

from playwright.sync_api import Page


def smallest_contrast(page: Page) -> float:
    """Return the smallest contrast of a text with the ground of the page."""
    colours = page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor, ...[...document.querySelectorAll("body *")]
          .filter(one => one.innerText && one.checkVisibility()).map(one => getComputedStyle(one).color)]"""
    )
    ground, *texts = [_luminance(colour) for colour in colours]
    return min((max(ground, text) + 0.05) / (min(ground, text) + 0.05) for text in texts)


def _luminance(colour: str) -> float:
    channels = [int(channel) / 255 for channel in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
