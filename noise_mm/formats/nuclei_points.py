"""Read nuclei marked as points: VIA files, of any number of images, and ImageJ ROIs and QuPath GeoJSON, of one each."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from noise_mm.coco.file_issues import FileIssues
from noise_mm.files import read_bytes
from noise_mm.formats.geojson import features_of
from noise_mm.formats.imagej_points import read_imagej_points
from noise_mm.formats.packed_json import is_zipped_json, read_packed_json
from noise_mm.formats.qupath_objects import POINTS, class_name, is_nucleus, mapping, points_in
from noise_mm.formats.read import JSON_SUFFIXES
from noise_mm.formats.via import UNKNOWN_SIZE, read_via

SUFFIXES = ('.csv', '.roi', '.zip', *JSON_SUFFIXES)


class ImagePoints(NamedTuple):
    """The points of one image.

    Attributes:
        image: File name of the image; None where the file of points is named after it.
        size_bytes: Size of the file that was marked, `UNKNOWN_SIZE` where that is not stated.
        points: Marked places (x, y) in pixels of the image, corners of pixels at whole numbers.
        notes: What was left out or assumed.
    """

    image: str | None
    size_bytes: int
    points: list[tuple[float, float]]
    notes: list[str]


def read_nuclei_points(path: str | Path) -> list[ImagePoints]:
    """Return the points in a file: VIA `.csv` or `.json`, ImageJ `.roi` or `.zip`, QuPath GeoJSON (`.gz`, `.zip`).

    Raises:
        InputError: If the file is none of these, damaged, or of one image and without points.
    """
    name = str(path).lower()
    if name.endswith('.roi') or (name.endswith('.zip') and not is_zipped_json(read_bytes(path))):
        points, notes = read_imagej_points(path)
    else:
        features = None if name.endswith('.csv') else features_of(read_packed_json(path))
        if features is None:
            return [
                ImagePoints(each.name, each.size_bytes, [(point.x, point.y) for point in each.points], [])
                for each in read_via(path)
            ]
        points, notes = _qupath_points(path, features)
    return [ImagePoints(None, UNKNOWN_SIZE, [(x, y) for x, y in points.tolist()], notes)]


def _qupath_points(path: str | Path, features: list[dict]) -> tuple[np.ndarray, list[str]]:
    """Return the points (n, 2) among QuPath's objects: those of the class `nucleus`, or all where none has it."""
    issues = FileIssues(path, 'Mark nuclei with the points tool and export them as GeoJSON.')
    marked = [each for each in features if mapping(each.get('geometry')).get('type') in POINTS]
    nuclei = [each for each in marked if is_nucleus(each)] or marked
    found = [points_in(mapping(each['geometry']).get('coordinates')) for each in nuclei]
    if not sum(map(len, found)):
        raise issues.error(f'holds no points, but {len(features)} other objects')
    if len(marked) < len(features):
        issues.note(f'{len(features) - len(marked)} objects that are no points are left out')
    if len(nuclei) < len(marked):
        issues.note(f'{len(marked) - len(nuclei)} point objects of other classes than nucleus are left out')
    classes = Counter(class_name(each) or 'no class' for each in nuclei if not is_nucleus(each))
    if classes:
        issues.note(f'points are taken for nuclei ({", ".join(map(str, classes))})')
    return np.concatenate(found), issues.notes
