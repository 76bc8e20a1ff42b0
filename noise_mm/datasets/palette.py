"""Colours of classes in pictures."""

import colorsys
from collections.abc import Sequence

COLOURS = {'osteoclast': (200, 0, 140), 'nucleus': (0, 150, 255)}  # red, green, blue


def palette_of(classes: Sequence[str], own: Sequence[Sequence[int]] = ()) -> list[tuple[int, int, int]]:
    """Return a colour (red, green, blue) for each class.

    Args:
        classes: Osteoclasts and nuclei have their colours; others are spread over the colour circle.
        own: Colours of the first classes that win over those.
    """
    hues = [index / len(classes) for index in range(len(classes))]
    spread = [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.9, 0.85)) for hue in hues]
    colours = [COLOURS.get(name, other) for name, other in zip(classes, spread, strict=True)]
    return [*map(tuple, own[: len(classes)]), *colours[len(own) :]]
