"""From the content of a COCO file to the records that MMEngine datasets hold. Pure; no files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from noise_mm.coco.annotations import geometry_from_segmentation
from noise_mm.errors import InputError
from noise_mm.geometry.outline import parts_of
from noise_mm.geometry.rings import keyholed

REMEDY = 'data_prep/validate_dataset.py lists all faults of a dataset.'


def parse_coco(content: Any, source: str, classes: Sequence[str]) -> list[dict]:
    """The images of a COCO file with the objects of the wanted classes.

    Categories are matched by NAME; other categories of the file are left out. An object with `iscrowd` or `ignore`
    set is an ignored region. Masks given as run lengths become the exact outline of their pixels. The box of an object
    with an outline is the outline's own extent.

    Args:
        content: The parsed JSON.
        source: The file's name, for messages.
        classes: Class names in the order of their labels.

    Returns:
        For each image, in the file's order, the dictionary of its `images` entry without `id`, and `instances`: for
        each object `bbox` [x1, y1, x2, y2] in pixels of the annotated image, `bbox_label` (index in `classes`),
        `ignore_flag` (0 or 1) and, where it has an outline, `mask`: float64 arrays x1, y1, x2, y2, ... of its rings.

    Raises:
        InputError: If the file is no COCO file, lacks a class, or an entry is faulty; the first fault is named.
    """
    images, annotations, categories = _lists_of(content, source)
    names = {category['id']: category['name'] for category in categories}
    missing = [name for name in classes if name not in names.values()]
    if missing:
        raise InputError(
            f'{source}: no category {missing[0]!r}; it has {", ".join(map(repr, names.values())) or "none"}. '
            'Rename the category, or set the classes of the config.'
        )
    records = {image['id']: {**image, 'instances': []} for image in images}
    if len(records) != len(images):
        raise InputError(f'{source}: two images have the same id. {REMEDY}')

    faults = []
    for annotation in annotations:
        record = records.get(annotation.get('image_id'))
        fault = _fault_of(annotation, record, names)
        if not fault and names[annotation['category_id']] in classes:
            label = list(classes).index(names[annotation['category_id']])
            try:
                record['instances'].append(_instance(annotation, label, record))
            except ValueError as error:
                fault = f'has a mask that cannot be read: {error}'
        if fault:
            faults.append(f'annotation {annotation.get("id")} {fault}')
    if faults:
        more = f' ({len(faults) - 1} more faults like this)' if len(faults) > 1 else ''
        raise InputError(f'{source}: {faults[0]}{more}. {REMEDY}')
    for record in records.values():
        del record['id']
    return list(records.values())


def _lists_of(content: Any, source: str) -> list[list[dict]]:
    """`images`, `annotations` and `categories`, each a list of entries with the keys that everything else needs."""
    needed = {'images': {'id', 'file_name', 'width', 'height'}, 'annotations': set(), 'categories': {'id', 'name'}}
    lists = []
    for name, keys in needed.items():
        entries = content.get(name) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise InputError(f'{source}: not a COCO file, it has no list {name!r}. Export it as COCO instances.')
        for entry in entries:
            lacking = sorted(keys - entry.keys()) if isinstance(entry, Mapping) else sorted(keys)
            if lacking or not isinstance(entry, Mapping):
                raise InputError(f'{source}: an entry of {name!r} lacks {", ".join(lacking) or "keys"}. {REMEDY}')
        lists.append(entries)
    return lists


def _fault_of(annotation: Mapping, record: Mapping | None, names: Mapping) -> str:
    """What is wrong with an annotation, in words; empty if nothing."""
    if record is None:
        return f'belongs to image {annotation.get("image_id")}, which is not in the file'
    if annotation.get('category_id') not in names:
        return f'has category {annotation.get("category_id")}, which is not in the file'
    segmentation = annotation.get('segmentation')
    if not segmentation:
        return '' if _is_box(annotation.get('bbox')) else 'has neither an outline nor a box with an area'
    if isinstance(segmentation, Mapping):
        # The rest is checked where it is read, in `_instance`.
        return '' if segmentation.get('counts') else 'has a run-length mask without counts'
    return '' if _are_rings(segmentation) else 'has an outline that is not made of rings with three points or more'


def _is_box(box: Any) -> bool:
    return _numbers(box) is not None and len(box) == 4 and box[2] > 0 and box[3] > 0


def _are_rings(rings: Any) -> bool:
    arrays = [_numbers(ring) for ring in rings] if isinstance(rings, Iterable) else [None]
    return all(ring is not None and len(ring) >= 6 and len(ring) % 2 == 0 for ring in arrays)


def _numbers(values: Any) -> np.ndarray | None:
    """A list of finite numbers as an array, anything else as None."""
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        return None
    array = np.array(values, dtype=np.float64)
    return array if np.isfinite(array).all() else None


def _instance(annotation: Mapping, label: int, record: Mapping) -> dict:
    """One object as MMDetection's datasets hold it.

    Raises:
        ValueError: If its run lengths don't fit its image, or have no pixel.
    """
    instance = {'bbox_label': label, 'ignore_flag': int(bool(annotation.get('iscrowd') or annotation.get('ignore')))}
    segmentation = annotation.get('segmentation')
    if not segmentation:
        x, y, width, height = annotation['bbox']
        return {**instance, 'bbox': [x, y, x + width, y + height]}
    if isinstance(segmentation, Mapping):
        geometry = geometry_from_segmentation(segmentation, record['height'], record['width'])
        rings = [keyholed(part).reshape(-1) for part in parts_of(geometry)]
    else:
        rings = [np.array(ring, dtype=np.float64) for ring in segmentation]
    points = np.concatenate(rings).reshape(-1, 2)
    return {**instance, 'bbox': [*points.min(0).tolist(), *points.max(0).tolist()], 'mask': rings}
