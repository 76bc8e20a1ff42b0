"""From the content of a COCO file to the records that MMEngine datasets hold. Pure; no files."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from noise_mm.coco import issues as kinds
from noise_mm.coco.issues import Issue
from noise_mm.coco.reader import CocoAnnotation, raise_issues, read_content, require_classes
from noise_mm.coco.segmentation import geometry_from_segmentation, rings_of
from noise_mm.geometry.outline import parts_of
from noise_mm.geometry.rings import keyholed

logger = logging.getLogger(__name__)


def parse_coco(value: Any, source: str, classes: Sequence[str]) -> list[dict]:
    """Return the images of a COCO file with the objects of the wanted classes.

    Categories are matched by NAME; other categories of the file are left out. An object with `iscrowd` or `ignore`
    set is an ignored region. Masks given as run lengths become the exact outline of their pixels. The box of an object
    with an outline is the outline's own extent.

    Args:
        value: The parsed JSON.
        source: The file's name, for messages.
        classes: Class names in the order of their labels.

    Returns:
        For each image, in the file's order, the dictionary of its `images` entry without `id`, and `instances`: for
        each object `bbox` [x1, y1, x2, y2] in pixels of the annotated image, `bbox_label` (index in `classes`),
        `ignore_flag` (0 or 1) and, where it has an outline, `mask`: float64 arrays x1, y1, x2, y2, ... of its rings.

    Raises:
        InputError: If the file is no COCO file, lacks a class, or entries are damaged; the first issues are named.
    """
    content = read_content(value, source, annotation_ids=False)
    require_classes(content, source, classes)
    content.refuse_only_crowds(source)
    for note in content.notes:
        logger.warning('%s: %s', source, note)
    labels = {name: label for label, name in enumerate(classes)}
    records = {image.id: {**image.entry, 'instances': []} for image in content.images}
    issues = list(content.issues)
    for annotation in content.annotations:
        if annotation.image is None or annotation.category is None:
            continue
        try:
            # Objects of other classes are checked, too: a file with a damaged one may have more.
            instance = _instance(annotation, labels.get(annotation.category))
        except ValueError as error:
            issues.append(Issue(kinds.BAD_OUTLINE, annotation.place, f'has a mask that cannot be read: {error}'))
            continue
        if annotation.category in labels:
            records[annotation.image.id]['instances'].append(instance)
    raise_issues(source, [issue for issue in issues if issue.kind != kinds.LOW_ID])
    for record in records.values():
        del record['id']
    return list(records.values())


def _instance(annotation: CocoAnnotation, label: int | None) -> dict:
    """Return one object as MMDetection's datasets hold it; ValueError if it has no good outline or box."""
    instance = {'bbox_label': label, 'ignore_flag': int(annotation.ignored)}
    segmentation = annotation.entry.get('segmentation')
    if not segmentation:
        x, y, width, height = _box(annotation.entry.get('bbox'))
        return {**instance, 'bbox': [x, y, x + width, y + height]}
    if isinstance(segmentation, dict):
        geometry, _ = geometry_from_segmentation(segmentation, annotation.image.height, annotation.image.width)
        rings = [keyholed(part) for part in parts_of(geometry)]
    else:
        rings = rings_of(segmentation)
    points = np.concatenate(rings)
    box = [*points.min(0).tolist(), *points.max(0).tolist()]
    return {**instance, 'bbox': box, 'mask': [ring.reshape(-1) for ring in rings]}


def _box(box: Any) -> list[float]:
    """Return a box x, y, width, height; ValueError if it is none, or has no area."""
    is_list = isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box)
    if not is_list or not all(-1e9 < value < 1e9 for value in box) or min(box[2:]) <= 0:
        raise ValueError('it has neither an outline nor a box with an area')
    return box
