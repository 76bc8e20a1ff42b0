"""Checks the annotations of a file: ids, references, repetitions, flags, and the shape of each. Pure; no files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from shapely import MultiPolygon, Polygon

from noise_mm.inspection import issues as faults
from noise_mm.inspection.annotation_files import Content, Part
from noise_mm.inspection.issues import Fault
from noise_mm.inspection.patch_entries import Patch, is_number
from noise_mm.inspection.shapes import ROUNDING_PX, Found, examine


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
        mended: The list as `--fix` writes it.
    """

    labelled: list[Labelled]
    found: list[Fault]
    mended: list[Any]


def check_annotations(part: Part, content: Content, patches: Sequence[Patch], categories: Mapping[int, str]) -> Checked:
    """Examines every annotation of a file.

    Args:
        part: The file.
        content: What is in it.
        patches: Its patches.
        categories: Names by id.
    """
    checked = Checked([], [], [])
    by_id = {patch.image_id: patch for patch in patches}
    sliver_fraction = _sliver_fraction(content)
    ids: set[int] = set()
    seen: dict[str, list[dict[str, Any]]] = {}
    for annotation in content.dataset['annotations']:
        if not isinstance(annotation, dict):  # already named by read_part
            checked.mended.append(annotation)
            continue
        patch = by_id.get(annotation['image_id']) if isinstance(annotation.get('image_id'), int) else None
        place = f'{part.place}, annotation {annotation.get("id")}' + (f' ({patch.file_name})' if patch else '')
        original = _original(annotation, seen)
        if original is not None:
            what = f'is the same as annotation {original.get("id")}'
            checked.found.append(Fault(faults.REPEATED, place, what, mendable=True))
            continue
        category = _category(annotation, categories)
        found = _found_in_references(annotation, patch, category, ids)
        mended = annotation
        if patch is not None:
            shape = examine(annotation, patch)
            found += shape.found + _found_in_flags(annotation, sliver_fraction)
            mended = shape.mended
            if shape.region is not None and category is not None:
                checked.labelled.append(_labelled(annotation, patch, category, shape.region))
        checked.mended.append(mended)
        checked.found.extend(Fault(kind, place, what, mendable) for kind, what, mendable in found)
    return checked


def check_empty_categories(part: Part, categories: Mapping[int, str], labelled: Iterable[Labelled]) -> list[Fault]:
    """A fault for each category that this file is for and that has no object in it; regions to ignore are none."""
    used = {one.category for one in labelled if not one.ignored}
    return [
        Fault(
            faults.EMPTY_CATEGORY,
            part.place,
            f'has no {name}' + ('' if name in categories.values() else ', nor the category'),
        )
        for name in part.role.value
        if name not in used
    ]


def _found_in_references(
    annotation: Mapping[str, Any], patch: Patch | None, category: str | None, ids: set[int]
) -> Found:
    """What is wrong with ids; the annotation's own is added to `ids`."""
    found: Found = []
    own = annotation.get('id')
    if not isinstance(own, int):
        found.append((faults.BAD_ENTRY, 'has no id', False))
    elif own in ids:
        found.append((faults.DOUBLE_ID, 'the id belongs to another annotation too', False))
    else:
        ids.add(own)
        if own < 1:
            found.append((faults.LOW_ID, f'the id is {own}', False))
    if patch is None:
        what = f'image {annotation.get("image_id")} is not in the file, or its entry is incomplete'
        found.append((faults.UNKNOWN_IMAGE, what, False))
    if category is None:
        found.append((faults.UNKNOWN_CATEGORY, f'category {annotation.get("category_id")} is not in the file', False))
    return found


def _found_in_flags(annotation: Mapping[str, Any], sliver_fraction: float | None) -> Found:
    """What is wrong with `iscrowd` and `visible_fraction`."""
    found: Found = []
    flag, visible = annotation.get('iscrowd'), annotation.get('visible_fraction')
    if flag not in (0, 1):
        found.append((faults.BAD_FLAG, f'iscrowd is {flag}', False))
    if visible is not None and not is_number(visible, 0, 1 + 1e-6):
        found.append((faults.BAD_ENTRY, f'visible_fraction is {visible}, not above 0 and up to 1', False))
    elif sliver_fraction is not None and visible is not None and flag == 1 and visible >= sliver_fraction:
        found.append((faults.IGNORED, f'{visible:.0%} of the cell is visible', False))
    elif sliver_fraction is not None and visible is not None and flag == 0 and visible < sliver_fraction:
        found.append((faults.SLIVER, f'{visible:.1%} of the cell is visible', False))
    elif flag == 1 and visible is None:
        found.append((faults.IGNORED, 'the file does not say how much of the cell is visible', False))
    return found


def _labelled(annotation: Mapping[str, Any], patch: Patch, category: str, region: Polygon | MultiPolygon) -> Labelled:
    left, top, right, bottom = region.bounds
    cell, visible = annotation.get('cell'), annotation.get('visible_fraction')
    near = ROUNDING_PX
    return Labelled(
        patch,
        category,
        bool(annotation.get('iscrowd') or annotation.get('ignore')),
        region.area,
        (right - left, bottom - top),
        min(left, top) < near or right > patch.width - near or bottom > patch.height - near,
        cell if isinstance(cell, int) else None,
        visible if is_number(visible, 0, 1 + 1e-6) else 1.0,
    )


def _sliver_fraction(content: Content) -> float | None:
    """The share of a cell below which extraction ignored it, where the file says so."""
    info = content.dataset.get('info')
    fraction = info.get('sliver_fraction') if isinstance(info, dict) else None
    return fraction if is_number(fraction) else None


def _category(annotation: Mapping[str, Any], categories: Mapping[int, str]) -> str | None:
    category_id = annotation.get('category_id')
    return categories.get(category_id) if isinstance(category_id, int) else None


def _original(annotation: dict[str, Any], seen: dict[str, list[dict[str, Any]]]) -> dict[str, Any] | None:
    """An earlier annotation of which this one is a copy, whatever their ids and notes; else it is added to `seen`."""
    key = repr([annotation.get(name) for name in ('image_id', 'category_id', 'iscrowd', 'bbox')])
    alike = seen.setdefault(key, [])
    for other in alike:
        if other.get('segmentation') == annotation.get('segmentation'):
            return other
    alike.append(annotation)
    return None
