"""How far outlines of cells overlap, in pixels, without drawing the image that they lie in. Pure.

The numbers are those of masks of the whole image, a pixel being inside if its centre is (see `annotations.pixels`):
each outline is drawn once, in its own box.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from noise_mm.coco.segmentation import column_runs
from noise_mm.evaluation.matching import ImageOverlaps
from noise_mm.evaluation.overlaps import ImageInstances, Instances, compare_images
from noise_mm.geometry.cell_masks import cell_masks
from noise_mm.geometry.outline import Outline


def compare_outlines(
    found: Sequence[Outline],
    objects: Sequence[Outline],
    classes: Sequence[str],
    size_px: tuple[int, int],
    *,
    image_id: int | str,
    batch: str,
    well: str,
) -> ImageOverlaps:
    """Compares all that was found in an image with all that is annotated there, by masks.

    Args:
        found: The n outlines found; one without a score counts as certain (score 1).
        objects: The m annotated outlines, those to be ignored among them.
        classes: Class names; every label must be one of them.
        size_px: Width and height of the image; what lies beyond it has no pixels.
        image_id: Id of the image.
        batch: Its batch.
        well: Its well.

    Returns:
        With the pairs of kind 'segm'. Areas are those within the outlines, exactly.
    """
    width_px, height_px = size_px
    detections, regions = (
        Instances(
            np.array([classes.index(outline.label) for outline in side], dtype=np.int64),
            None,
            [column_runs(mask, height_px) for mask in cell_masks(side, size_px)],
        )
        for side in (found, objects)
    )
    scores = np.array([1.0 if each.score is None else each.score for each in found], dtype=np.float64)
    ignored = np.array([outline.ignored for outline in objects], dtype=bool)
    image = ImageInstances(image_id, batch, well, detections, scores, regions, ignored, (height_px, width_px))
    (overlaps,) = compare_images([image])
    return replace(overlaps, areas_px2=_areas(found), object_areas_px2=_areas(objects))


def _areas(outlines: Sequence[Outline]) -> NDArray[np.float64]:
    return np.array([outline.geometry.area for outline in outlines], dtype=np.float64)
