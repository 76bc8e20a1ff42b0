"""Checks the annotations of a file: ids, references, repetitions, flags, and the shape of each. Pure; no files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from shapely import MultiPolygon, Polygon

from noise_mm.coco import issues as kinds
from noise_mm.coco.issues import Issue
from noise_mm.coco.reader import CocoAnnotation
from noise_mm.inspection.annotation_files import Part, PartContent
from noise_mm.inspection.patch_entries import Patch, is_number
from noise_mm.inspection.shapes import ROUNDING_PX, Found, examine

COMPARED = ('image_id', 'category_id', 'iscrowd', 'bbox')
"""Annotations that agree in these and in their segmentation are copies, whatever their ids and notes."""


class Labelled(NamedTuple):
    """An annotation that can be counted.

    Attributes:
        patch: Where it is.
        category: Name of its category.
        ignored: Whether it is a region to ignore.
        area_px2: Area in stored pixels.
        box_px: Width and height of its box in stored pixels.
        at_border: Whether it touches the border of the patch.
        cell: Number of the cell in its well, where the file says so.
        visible_fraction: Share of the cell that the patch shows; 1 where the file does not say.
    """

    patch: Patch
    category: str
    ignored: bool
    area_px2: float
    box_px: tuple[float, float]
    at_border: bool
    cell: int | None
    visible_fraction: float


class Checked(NamedTuple):
    """All annotations of a file.

    Attributes:
        labelled: Those that can be counted.
        found: What is wrong.
        fixed: The list as `--fix` writes it.
    """

    labelled: list[Labelled]
    found: list[Issue]
    fixed: list[Any]


def check_annotations(part: Part, content: PartContent, patches: Sequence[Patch]) -> Checked:
    """Examine every annotation of a file; what it refers to has been checked by the reader of COCO files.

    Args:
        part: The file.
        content: What is in it.
        patches: Its patches.
    """
    checked = Checked([], [], [])
    by_id = {patch.image_id: patch for patch in patches}
    # The share of a cell below which extraction ignored it.
    sliver_fraction = content.coco.info.get('sliver_fraction')
    sliver_fraction = sliver_fraction if is_number(sliver_fraction) else None
    seen: dict[str, list[CocoAnnotation]] = {}
    annotations = iter(content.coco.annotations)
    for raw in content.dataset['annotations']:
        if not isinstance(raw, dict):  # already named by the reader
            checked.fixed.append(raw)
            continue
        annotation = next(annotations)
        patch = by_id.get(annotation.image.id) if annotation.image else None
        place = f'{part.place}, {annotation.place}' + (f' ({patch.file_name})' if patch else '')
        entry = annotation.entry
        alike = seen.setdefault(repr([entry.get(name) for name in COMPARED]), [])
        original = next((o for o in alike if o.entry.get('segmentation') == entry.get('segmentation')), None)
        if original is not None:
            checked.found.append(Issue(kinds.REPEATED, place, f'is the same as {original.place}', fixable=True))
            continue
        alike.append(annotation)
        found: Found = []
        if isinstance(annotation.entry.get('id'), str):
            found.append((kinds.BAD_ENTRY, 'has an id that is no whole number', False))
        fixed = annotation.entry
        if patch is not None:
            shape = examine(annotation.entry, patch)
            found += shape.found + _found_in_flags(annotation.entry, sliver_fraction)
            fixed = shape.fixed
            if shape.region is not None and annotation.category is not None:
                checked.labelled.append(_labelled(annotation, patch, shape.region))
        checked.fixed.append(fixed)
        checked.found.extend(Issue(kind, place, what, fixable) for kind, what, fixable in found)
    return checked


def check_empty_categories(part: Part, categories: Mapping[int, str], labelled: Iterable[Labelled]) -> list[Issue]:
    """Return an issue for each category that the file is for and that has no object in it but ignored regions."""
    used = {one.category for one in labelled if not one.ignored}
    return [
        Issue(
            kinds.EMPTY_CATEGORY,
            part.place,
            f'has no {name}' + ('' if name in categories.values() else ', nor the category'),
        )
        for name in part.role.value
        if name not in used
    ]


def _found_in_flags(annotation: Mapping[str, Any], sliver_fraction: float | None) -> Found:
    """Check `iscrowd` and `visible_fraction`."""
    found: Found = []
    flag, visible = annotation.get('iscrowd'), annotation.get('visible_fraction')
    if flag not in (0, 1):
        found.append((kinds.BAD_FLAG, f'iscrowd is {flag}', False))
    if visible is not None and not is_number(visible, 0, 1 + 1e-6):
        found.append((kinds.BAD_ENTRY, f'visible_fraction is {visible}, not above 0 and up to 1', False))
    elif sliver_fraction is not None and visible is not None and flag == 1 and visible >= sliver_fraction:
        found.append((kinds.IGNORED, f'{visible:.0%} of the cell is visible', False))
    elif sliver_fraction is not None and visible is not None and flag == 0 and visible < sliver_fraction:
        found.append((kinds.SLIVER, f'{visible:.1%} of the cell is visible', False))
    elif flag == 1 and visible is None:
        found.append((kinds.IGNORED, 'the file does not say how much of the cell is visible', False))
    return found


def _labelled(annotation: CocoAnnotation, patch: Patch, region: Polygon | MultiPolygon) -> Labelled:
    left, top, right, bottom = region.bounds
    cell, visible = annotation.entry.get('cell'), annotation.entry.get('visible_fraction')
    return Labelled(
        patch,
        annotation.category,
        annotation.ignored,
        region.area,
        (right - left, bottom - top),
        min(left, top, patch.width - right, patch.height - bottom) < ROUNDING_PX,
        cell if isinstance(cell, int) else None,
        visible if is_number(visible, 0, 1 + 1e-6) else 1.0,
    )
