"""Points from the VGG Image Annotator, VIA 2: the CSV and JSON annotation exports, and project files.

Each region becomes one point: a point itself, the centre of a circle, an ellipse or a rectangle. Polygons and lines
are faults, because their author did not mean a point. Coordinates are kept as stored: VIA rounds the place of a click
on the canvas to whole pixels, corners at whole numbers, without shifting it to the pixel's centre.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noise_mm.coco.file_issues import FileIssues
from noise_mm.errors import InputError
from noise_mm.files import parse_json, read_json, write_text
from noise_mm.formats.text_rows import csv_rows

REMEDY = 'Correct these in VIA and export the annotations again.'
CSV_COLUMNS = [
    'filename', 'file_size', 'file_attributes', 'region_count', 'region_id', 'region_shape_attributes',
    'region_attributes',
]  # fmt: skip
NEEDS_QUOTES = ',"\r\n'
UNKNOWN_SIZE = -1  # what VIA writes for files whose size it does not know


@dataclass(frozen=True)
class ViaPoint:
    """One marked place, in pixels from the left and upper edge of the image, with VIA's region attributes."""

    x: float
    y: float
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ViaImage:
    """One image of a VIA file: its name, its size when it was marked (or `UNKNOWN_SIZE`), and the marked places."""

    name: str
    size_bytes: int
    points: tuple[ViaPoint, ...]


def read_via(path: str | Path) -> list[ViaImage]:
    """Return the images of a VIA file with their points; images without regions have none.

    VIA tells images apart by name AND size of the file, so two of them may have one name.

    Args:
        path: A `.csv` or `.json` annotation export, or a `.json` project file.

    Raises:
        InputError: If the file is damaged or not VIA's, a row is short, a region has an unknown shape or no whole
            coordinates, or the number of regions is not the stated one.
    """
    issues = FileIssues(path, REMEDY)
    regions = _csv_regions(path, issues) if Path(path).suffix.lower() == '.csv' else _json_regions(path, issues)
    points: dict[tuple[str, int], list[ViaPoint]] = {}
    for image, where, shape, attributes in regions:
        of_image = points.setdefault(image, [])
        if shape is None:
            continue
        try:
            of_image.append(ViaPoint(*_centre(shape), attributes))
        except KeyError as error:
            issues.add(where, f'the shape lacks {error}')
        except (ValueError, TypeError, OverflowError) as error:
            issues.add(where, str(error))
    issues.raise_if_any()
    return [ViaImage(name, size, tuple(of_image)) for (name, size), of_image in points.items()]


def write_via_points(
    path: str | Path, points: Mapping[str, Sequence[ViaPoint]], file_sizes: Mapping[str, int] | None = None
) -> None:
    """Write points as a VIA 2 annotation export, CSV; whole or not at all.

    Args:
        path: File to write.
        points: Points by image file name; an image without points is written too.
        file_sizes: Sizes of the image files in bytes. VIA finds images by name and size, so it can add the
            regions to a project only if these are right.
    """
    write_text(path, _csv_text(points, file_sizes or {}))


# One region: name and file size of its image, place in the file for messages, shape (None if the image has no region)
# and attributes.
_Region = tuple[tuple[str, int], str, Any, Mapping[str, Any]]


def _csv_regions(path: str | Path, issues: FileIssues) -> list[_Region]:
    """Return the regions in a CSV export, with the checks that only this form allows."""
    rows = list(csv_rows(path))
    header = [cell.strip().lstrip('#') for cell in rows[0][1]] if rows else []
    missing = [column for column in CSV_COLUMNS if column not in header]
    if missing:
        raise issues.error(f'not a VIA 2 CSV export; its header lacks {", ".join(missing)}')
    regions: list[_Region] = []
    stated: dict[tuple[str, int], tuple[str, str]] = {}
    counted: Counter[tuple[str, int]] = Counter()
    for line, cells in rows[1:]:
        where = f'line {line}'
        if len(cells) != len(header):
            issues.add(where, f'{len(cells)} cells, but the header has {len(header)}')
            continue
        row = dict(zip(header, cells, strict=True))
        name = row['filename']
        try:
            shape = parse_json(row['region_shape_attributes'].encode(), path)
            attributes = parse_json(row['region_attributes'].encode(), path)
        except InputError:
            issues.add(f'{where} ({name})', 'attributes are not JSON')
            continue
        image = name, _size(row['file_size'])
        stated[image] = (where, row['region_count'].strip())
        counted[image] += bool(shape)
        regions.append((image, f'{where} ({name})', shape or None, attributes if isinstance(attributes, dict) else {}))
    for image, (where, count) in stated.items():
        if count != str(counted[image]):
            issues.add(where, f'{image[0]} should have {count} regions, but {counted[image]} are in the file')
    return regions


def _json_regions(path: str | Path, issues: FileIssues) -> list[_Region]:
    """Return the regions in a JSON export or project file; regions are a list in VIA 2 and an object in VIA 1."""
    value = read_json(path)
    images = value.get('_via_img_metadata', value) if isinstance(value, dict) else None
    if not isinstance(images, dict) or not all(
        isinstance(image, dict) and isinstance(image.get('filename'), str) for image in images.values()
    ):
        raise issues.error('not a VIA 2 JSON export or project')
    regions: list[_Region] = []
    for entry in images.values():
        image, found = (entry['filename'], _size(entry.get('size'))), entry.get('regions', [])
        found = list(found.values()) if isinstance(found, dict) else found
        if not isinstance(found, list):
            issues.add(image[0], 'its regions are not a list')
            continue
        if not found:
            regions.append((image, image[0], None, {}))
        for number, region in enumerate(found):
            facts = region if isinstance(region, dict) else {}
            attributes = facts.get('region_attributes')
            attributes = attributes if isinstance(attributes, dict) else {}
            regions.append((image, f'{image[0]}, region {number}', facts.get('shape_attributes') or {}, attributes))
    return regions


def _size(value: Any) -> int:
    """Return the size of a file in bytes as VIA states it, `UNKNOWN_SIZE` if it is no whole number."""
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return UNKNOWN_SIZE


def _centre(shape: Any) -> tuple[float, float]:
    """Return the point that a VIA shape stands for; KeyError, TypeError or ValueError if it is none."""
    name = shape.get('name') if isinstance(shape, dict) else None
    if name in ('point', 'circle', 'ellipse'):
        centre = float(shape['cx']), float(shape['cy'])
    elif name == 'rect':
        centre = float(shape['x']) + float(shape['width']) / 2, float(shape['y']) + float(shape['height']) / 2
    else:
        raise ValueError(f'shape {name!r} is not a point, circle, ellipse or rect')
    if not np.isfinite(centre).all():
        raise ValueError('a coordinate is not a finite number')
    return centre


def _shape(point: ViaPoint) -> dict[str, Any]:
    """Return VIA's shape of a point; whole coordinates as whole numbers, as VIA writes them."""
    x, y = (int(value) if value == int(value) else value for value in (point.x, point.y))
    return {'name': 'point', 'cx': x, 'cy': y}


def _csv_text(points: Mapping[str, Sequence[ViaPoint]], sizes: Mapping[str, int]) -> str:
    """Return a CSV export, byte for byte as VIA writes it: attributes always quoted, their JSON without spaces."""
    lines = [','.join(CSV_COLUMNS)]
    for name, of_image in points.items():
        start = f'{_quoted(name) if set(name) & set(NEEDS_QUOTES) else name},{sizes.get(name, UNKNOWN_SIZE)},"{{}}"'
        if not of_image:
            lines.append(f'{start},0,0,"{{}}","{{}}"')
        for number, point in enumerate(of_image):
            values = _shape(point), dict(point.attributes)
            cells = [_quoted(json.dumps(value, separators=(',', ':'))) for value in values]
            lines.append(f'{start},{len(of_image)},{number},{",".join(cells)}')
    return '\n'.join(lines) + '\n'


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
