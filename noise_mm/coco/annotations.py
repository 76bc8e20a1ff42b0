"""COCO annotations as this project writes them; ids are counted from 1. Reading them: `reader` and `outlines`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from shapely import MultiPolygon, Polygon

from noise_mm import __version__
from noise_mm.coco.batch_folder import CATEGORIES, OSTEOCLAST_ID, coco_dictionary
from noise_mm.coco.segmentation import coco_segmentation, mask_annotation
from noise_mm.files import replacing
from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.outline import Outline


def coco_annotation(
    annotation_id: int,
    image_id: int,
    geometry: Polygon | MultiPolygon,
    *,
    category_id: int = OSTEOCLAST_ID,
    ignored: bool = False,
    score: float | None = None,
    segmentation: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return one COCO annotation; `area` and `bbox` (x, y, width, height) are exactly those of `geometry`, in pixels.

    Args:
        annotation_id: From 1: COCO's evaluation takes 0 for "no match".
        image_id: Id of the image.
        geometry: The outline in pixels of the image.
        category_id: Id of the class.
        ignored: Written as `iscrowd`.
        score: Confidence, where a model made the outline.
        segmentation: An RLE to be written instead of polygons.
        **more: Further keys.
    """
    left, top, right, bottom = (float(value) for value in geometry.bounds)
    annotation = {
        'id': annotation_id,
        'image_id': image_id,
        'category_id': category_id,
        'iscrowd': int(ignored),
        'bbox': [left, top, right - left, bottom - top],
        'area': float(geometry.area),
        'segmentation': coco_segmentation(geometry) if segmentation is None else segmentation,
    }
    if score is not None:
        annotation['score'] = score
    return {**annotation, **more}


def write_coco(
    path: str | Path,
    outlines: Sequence[Outline],
    file_name: str,
    size_px: tuple[int, int],
    *,
    rle: bool = False,
    attributes: Iterable[Mapping[str, Any]] | None = None,
    masks: Iterable[CellMask] | None = None,
    **image_facts: Any,
) -> None:
    """Write the outlines of one whole image as a COCO file, whole or not at all.

    Annotations are written one by one, each in a line of its own. `info.noise_mm` says that the file is this
    project's, so that `iscrowd` in it means a region to ignore (see `outlines`).

    Args:
        path: File to write.
        outlines: Outlines in pixels of the image. Labels that are not among `CATEGORIES` get further ids.
        file_name: Name of the image file.
        size_px: Its width and height.
        rle: Whether segmentations are RLE, as predictions are exchanged, instead of polygons. `area` and `bbox` are
            then those of the pixels. Slivers that hold no pixel's centre stay polygons, and so do all outlines of an
            image of 2^32 pixels (65,536 px a side) or more, which pycocotools can't hold.
        attributes: For each outline what stands in its `attributes` besides the name.
        masks: The pixels of the outlines, if they were rasterised before.
        **image_facts: Further keys of the image, such as `well` and `mpp`.
    """
    width, height = size_px
    labels = dict.fromkeys([*(category['name'] for category in CATEGORIES), *(outline.label for outline in outlines)])
    ids = {label: number for number, label in enumerate(labels, start=1)}
    categories = [{'id': number, 'name': label, 'supercategory': 'cell'} for label, number in ids.items()]
    image = {'id': 1, 'file_name': file_name, 'width': width, 'height': height, **image_facts}
    head = json.dumps(coco_dictionary([image], [], categories=categories, info={'noise_mm': __version__}))
    if rle and masks is None:
        masks = (CellMask.of(outline.geometry, size_px) for outline in outlines)
    masks = masks if rle else repeat(None, len(outlines))
    attributes = repeat({}, len(outlines)) if attributes is None else attributes
    with replacing(path) as temporary, open(temporary, 'w', encoding='utf-8', newline='') as file:
        file.write(head.removesuffix(']}'))
        for number, (outline, more, mask) in enumerate(zip(outlines, attributes, masks, strict=True), start=1):
            annotation = coco_annotation(
                number,
                1,
                outline.geometry,
                category_id=ids[outline.label],
                ignored=outline.ignored,
                score=outline.score,
                **({} if mask is None else mask_annotation(mask, height, width)),
            )
            if named := ({'name': outline.name} if outline.name else {}) | dict(more):
                annotation['attributes'] = named
            file.write((',\n' if number > 1 else '\n') + json.dumps(annotation))
        file.write('\n]}\n')
