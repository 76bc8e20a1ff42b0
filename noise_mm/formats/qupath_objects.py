"""Decide which objects of a QuPath file are cells: by object type, class, and what lies in what. Pure; no files.

QuPath has annotations (drawn by people, or regions that are analysed), detections and cells (made by commands), tiles,
TMA cores and the root of the hierarchy. An annotation without a class may be a cell that somebody drew, or the region
that detections were made in; a region taken for a cell would be one of 66,000 px^2.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from noise_mm.coco.file_issues import OutlineCollector

NUCLEUS = 'nucleus'
REGION_CLASS = 'Region*'  # QuPath's own class for regions of interest
NOT_CELLS = {'tile': 'tiles', 'tma_core': 'TMA cores', 'tmacore': 'TMA cores', 'root': 'the root object'}
DETECTIONS = ('detection', 'cell')
CELL_CLASSES = ('osteoclast', 'pre-osteoclast')
MOST_HELD = 3  # annotations in one that is a cell: small ones may lie in the bend of a large one
# QuPath before 0.4 has the name of its Java class for an id.
OLD_TYPES = {
    'PathAnnotationObject': 'annotation', 'PathDetectionObject': 'detection', 'PathCellObject': 'cell',
    'PathTileObject': 'tile', 'TMACoreObject': 'tmacore', 'PathRootObject': 'root',
}  # fmt: skip
POINTS = ('Point', 'MultiPoint')


def mapping(value: Any) -> Mapping:
    """Return `value` if it is a JSON object, else an empty one: optional members may be missing, null or otherwise."""
    return value if isinstance(value, dict) else {}


def class_name(feature: Mapping) -> str:
    """Return the class of an object as QuPath shows it; derived classes are joined by colons."""
    classification = mapping(feature.get('properties')).get('classification')
    if isinstance(classification, str):
        return classification
    names = mapping(classification).get('names')
    return ': '.join(map(str, names)) if isinstance(names, list) else str(mapping(classification).get('name') or '')


def object_type(feature: Mapping) -> str:
    """Return the type of an object in small letters: `annotation` where a file does not say."""
    properties = mapping(feature.get('properties'))
    stated = properties.get('objectType') or properties.get('object_type')
    if not isinstance(stated, str):
        stated = OLD_TYPES.get(str(feature.get('id')), 'annotation')
    return stated.lower()


def is_nucleus(feature: Mapping) -> bool:
    """Return whether an object is of the class `nucleus`, capitals or not."""
    return class_name(feature).strip().lower() == NUCLEUS


def cells_among(features: Sequence[dict], collector: OutlineCollector) -> list[tuple[int, dict]]:
    """Return the objects that are cells, each with its number from 1, and note what is left out and why.

    Left out are points of the class `nucleus`; tiles, TMA cores and the root; and annotations without a class, or of
    QuPath's class `Region*`, that hold detections other than nuclei, or osteoclasts: these are regions. Beside such
    regions, an annotation without a class that holds nothing is an issue, because it may be either; so is one around
    several others without a class, or over most of the image.

    The collector takes notes and issues.
    """
    left_out: Counter[str] = Counter()
    kept = []
    for number, feature in enumerate(features, start=1):
        if is_nucleus(feature) and mapping(feature.get('geometry')).get('type') in POINTS:
            left_out['nuclei (points)'] += 1
        elif object_type(feature) in NOT_CELLS:
            left_out[NOT_CELLS[object_type(feature)]] += 1
        else:
            kept.append((number, feature))
    cells, regions = _without_regions(kept, collector)
    if regions:
        left_out['annotations around cells, which are regions'] = regions
    if left_out:
        collector.note(f'left out: {", ".join(f"{count} {what}" for what, count in left_out.items())}')
    _note_planes([feature for _, feature in cells], collector)
    return cells


def _without_regions(
    numbered: Sequence[tuple[int, dict]], collector: OutlineCollector
) -> tuple[list[tuple[int, dict]], int]:
    """Return the objects that are no regions around cells, and how many regions there are."""
    unclear = [pair for pair in numbered if object_type(pair[1]) not in DETECTIONS and _may_be_region(pair[1])]
    others = [pair[1] for pair in numbered if pair not in unclear]
    detections = [each for each in others if object_type(each) in DETECTIONS and not is_nucleus(each)]
    cells = detections + [each for each in others if each not in detections and _class(each) in CELL_CLASSES]
    if not unclear:
        return list(numbered), 0
    extents = [_extent(feature) for _, feature in unclear]
    regions = {unclear[place][0] for place in _holders(extents, [_extent(feature) for feature in cells])}
    empty = [pair for pair in unclear if pair[0] not in regions and not class_name(pair[1])]
    if regions:
        for number, _ in empty:
            collector.add(
                f'feature {number}',
                'is an annotation without a class that holds no detection, beside others that do: give it the '
                f'class osteoclast if it is a cell, {REGION_CLASS} if it is a region',
            )
    elif detections and empty:
        collector.note(f'{len(empty)} annotations without a class beside {len(detections)} detections: taken for cells')
    elif not cells:
        _add_frames(collector, unclear, extents)
    if cells:
        regions |= {number for number, feature in unclear if class_name(feature)}
    return [pair for pair in numbered if pair[0] not in regions], len(regions)


def _class(feature: Mapping) -> str:
    """Return the class of an object in small letters, without spaces around it."""
    return class_name(feature).strip().lower()


def _may_be_region(feature: Mapping) -> bool:
    return _class(feature) in ('', 'region', 'region*')


def _holders(extents: Sequence[shapely.Geometry], held: Sequence[shapely.Geometry]) -> list[int]:
    """Return the places of the extents that hold the middle of another geometry, once for each that they hold."""
    middles = shapely.STRtree(shapely.centroid(held))
    return middles.query(extents, predicate='contains')[0].tolist()


def _add_frames(
    collector: OutlineCollector, unclear: Sequence[tuple[int, dict]], extents: Sequence[shapely.Geometry]
) -> None:
    """Add an issue for each annotation without a class that lies around many others, or over most of the image."""
    counts = Counter(_holders(extents, extents))
    half_px2 = np.inf if collector.size_px is None else np.prod(collector.size_px) / 2
    for place, (number, _) in enumerate(unclear):
        others = counts[place] - 1  # each holds itself
        if others >= MOST_HELD or extents[place].area > half_px2:
            what = f'lies around {others} others' if others > 0 else 'covers more than half of the image'
            collector.add(
                f'feature {number}',
                f'is an annotation without a class that {what}: give it the class osteoclast if it is a cell, '
                f'{REGION_CLASS} if it is a region',
            )


def _extent(feature: Mapping) -> shapely.Geometry:
    """Return the convex hull of an object's vertices, empty where it has none that can be read."""
    vertices = points_in(mapping(feature.get('geometry')).get('coordinates'))
    return shapely.convex_hull(shapely.MultiPoint(vertices))


def points_in(coordinates: Any) -> NDArray[np.float64]:
    """Return the finite x, y (n, 2) in GeoJSON coordinates, however they are nested; what is none is left out."""
    vertices: list[tuple[float, float]] = []
    pending = [coordinates]
    while pending:
        value = pending.pop()
        if isinstance(value, list) and len(value) > 1 and all(isinstance(number, int | float) for number in value[:2]):
            vertices.append((value[0], value[1]))
        elif isinstance(value, list):
            pending += reversed(value)
    try:
        points = np.array(vertices, dtype=np.float64).reshape(-1, 2)
    except OverflowError:  # an integer of hundreds of digits, named when the object is read
        return np.zeros((0, 2))
    return points[np.isfinite(points).all(axis=1)]


def _note_planes(features: Sequence[Mapping], collector: OutlineCollector) -> None:
    """Note that objects lie on several planes of a stack, and that outlines of nuclei inside cells are not read."""
    planes = {
        repr([mapping(mapping(feature.get('geometry')).get('plane')).get(axis, 0) for axis in 'zt'])
        for feature in features
    }
    if len(planes) > 1:
        collector.note(f'objects lie on {len(planes)} planes (z, t) of a stack; all are taken for one image')
    nuclei = sum('nucleusGeometry' in feature for feature in features)
    if nuclei:
        collector.note(f'{nuclei} outlines of nuclei inside cells are not read, only the cells')
