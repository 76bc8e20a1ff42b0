"""Which detections are one nucleus: the rule for weak labels and for counting nuclei in cells. Pure.

Every nucleus is a box of the same size, so the distance of two centres tells all. A limit on the overlap of boxes would
be a distance, too, but a different one along the axes and along the diagonals: IoU 0.5 of boxes of 36 px is 12.0 px and
9.2 px, which merges neighbouring nuclei of giant cells, and IoU 0.7 is 6.4 px and 4.7 px.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from noise_mm.scale import REFERENCE_UM_PER_PX

MIN_DISTANCE_UM = 4.8
"""Centres nearer than this are of one nucleus. Marked nuclei are 5.7 um apart or more; two detections of one nucleus
that are each 2 px (1.6 um) off lie at most 3.1 um apart. docs/stages.md has the measured trade-off."""

MIN_DISTANCE_PX = MIN_DISTANCE_UM / REFERENCE_UM_PER_PX
"""The same at the reference magnification, 6.17 px."""


def distinct_nuclei(xy: ArrayLike, scores: ArrayLike, min_distance: float = MIN_DISTANCE_PX) -> NDArray[np.intp]:
    """Select one detection per nucleus: the best one, and none that is nearer to a better selected one than a limit.

    Args:
        xy: Centres (n, 2).
        scores: Confidences (n,).
        min_distance: The limit, in the unit of `xy`; two centres exactly as far apart are two nuclei.

    Returns:
        Indices of the selected detections, best first. Equal scores are ordered by place, so that the selected places
        do not depend on the order of the detections.
    """
    xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    order = np.lexsort((xy[:, 0], xy[:, 1], -np.asarray(scores, dtype=np.float64).reshape(-1)))
    best_first = xy[order]
    is_selected = np.ones(len(order), dtype=bool)
    near = KDTree(best_first).query_pairs(min_distance, output_type='ndarray') if len(order) else np.empty((0, 2), int)
    near = near[np.linalg.norm(best_first[near[:, 0]] - best_first[near[:, 1]], axis=1) < min_distance]
    # Each pair has the better one first. In this order a detection's own fate is settled before it decides another's.
    for better, other in near[np.lexsort((near[:, 1], near[:, 0]))].tolist():
        if is_selected[better]:
            is_selected[other] = False
    return order[is_selected]
