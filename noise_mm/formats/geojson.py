"""QuPath GeoJSON: a FeatureCollection, one Feature, or a list of Features; also as `.geojson.gz`.

Coordinates are pixels of the full-resolution image, corners at whole numbers, origin at the upper left, as QuPath
exports and imports them. What QuPath (0.4 and later) reads is written: `objectType`, `classification`,
`measurements`, and a stable `id`. QuPath ignores objects whose class name ends with `*`; such outlines are `ignored`.
Nuclei are points of the class `nucleus`; as they are no outlines, reading leaves them out.
"""

import gzip
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from noise_mm.coco.file_issues import OutlineCollector
from noise_mm.files import replacing
from noise_mm.formats.qupath_objects import NUCLEUS, cells_among, class_name, mapping
from noise_mm.geometry.outline import Outline, parts_of, ring_vertices

REMEDY = 'Export it from QuPath as GeoJSON in pixels of the full-resolution image.'
IGNORED_CLASS = 'Ignore*'  # QuPath's own class for regions that are left out
SCORE_MEASUREMENT = 'Detection probability'  # the name that QuPath's StarDist extension uses
PIXEL_UNITS = ('', 'px', 'pixel', 'pixels')
# A cell covers many pixels: a file whose coordinates all lie in 0 to 1 gives fractions of the image.
FRACTION = 1.0
# Areas that a file states in um^2 and that equal the polygons' areas to within this share are areas of polygons in um.
SAME_AREA = 0.01


def geojson_outlines(
    value: Any,
    path: str | Path,
    size_px: tuple[int, int] | None = None,
    um_per_px: float | None = None,
    notes: list[str] | None = None,
) -> list[Outline]:
    """Return the outlines of a parsed GeoJSON file, in its order.

    Coordinates in another unit are refused as far as the file lets it be known: by a `crs` member or a `unit`
    that is not pixels, fractions of the image, outlines outside the image (with `size_px`), or areas stated in um^2
    that equal those of the polygons (with `um_per_px`). What is no cell is left out with a note, see
    `qupath_objects.cells_among`.

    Args:
        value: The parsed JSON, which has features (see `features_of`).
        path: The file, for messages.
        size_px: Width and height of the image, to check that the outlines lie on it.
        um_per_px: Resolution of the image, to check the unit.
        notes: Takes what was left out or assumed.

    Raises:
        InputError: If the unit is not pixels, or objects are no areas, without area or outside the image.
    """
    collector = OutlineCollector(path, REMEDY, size_px, notes=[] if notes is None else notes)
    cells = cells_among(features_of(value) or [], collector)
    geometries = [_geometry_or_reason(feature.get('geometry')) for _, feature in cells]
    _refuse_other_units(collector, value, [feature for _, feature in cells], geometries, um_per_px)
    for (number, feature), geometry in zip(cells, geometries, strict=True):
        properties = mapping(feature.get('properties'))
        name = str(properties.get('name') or '')
        where = f'feature {number}' + (f' ({name})' if name else '')
        if isinstance(geometry, str):
            collector.add(where, geometry)
            continue
        of_class = class_name(feature)
        in_metadata = mapping(properties.get('metadata')).get('label')
        collector.add_geometry(
            where,
            geometry,
            name=name,
            label=str(in_metadata or _plain(of_class) or Outline.label),
            score=_measurements(properties).get(SCORE_MEASUREMENT),
            ignored=of_class.endswith('*'),
        )
    return collector.finish()


def write_geojson(
    path: str | Path,
    outlines: Sequence[Outline],
    measurements: Iterable[Mapping[str, float]] | None = None,
    object_type: str = 'annotation',
    colours: Mapping[str, tuple[int, int, int]] | None = None,
    nuclei_px: NDArray[np.float64] | None = None,
) -> None:
    """Write a FeatureCollection for QuPath, gzipped if the name ends with `.gz`; whole or not at all.

    Equal arguments give equal bytes. Features are written one by one, each in a line of its own.

    Args:
        path: File to write.
        outlines: The outlines; their labels become class names, scores the measurement `SCORE_MEASUREMENT`.
        measurements: For each outline a mapping from QuPath's measurement names to numbers; units belong in the
            names, such as `Area um^2`.
        object_type: `annotation` (can be edited in QuPath), `detection` (fast for many thousands) or `cell`.
        colours: RGB by class; other classes have the colour that QuPath gives them.
        nuclei_px: Centres of nuclei (n, 2), x and y, written after the outlines as points of the class `nucleus`.
            They are detections: QuPath counts them in the annotation that they lie in.

    Raises:
        ValueError: If `measurements` has another length than `outlines`.
    """
    measurements = repeat({}, len(outlines)) if measurements is None else measurements
    colours = colours or {}
    points = np.empty((0, 2)) if nuclei_px is None else nuclei_px
    with replacing(path) as temporary, ExitStack() as open_files:
        file = open_files.enter_context(open(temporary, 'wb'))
        if str(path).lower().endswith('.gz'):
            # A gzip header without a name and a date: the same outlines give the same bytes.
            file = open_files.enter_context(gzip.GzipFile('', 'wb', 6, file, mtime=0))
        file.write(b'{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(_features(outlines, measurements, object_type, colours, points)):
            text = json.dumps(feature, ensure_ascii=False, allow_nan=False)
            file.write((',\n' if number else '\n').encode() + text.encode('utf-8'))
        file.write(b'\n]}\n')


def features_of(value: Any) -> list[dict] | None:
    """Return the features in the value of a GeoJSON file; None if it is no GeoJSON that has features."""
    if isinstance(value, dict) and value.get('type') == 'FeatureCollection':
        value = value.get('features')
    elif isinstance(value, dict) and value.get('type') == 'Feature':
        value = [value]
    if isinstance(value, list) and all(isinstance(item, dict) and item.get('type') == 'Feature' for item in value):
        return value
    return None


def _geometry_or_reason(value: Any) -> Polygon | MultiPolygon | str:
    """Return the polygons of a GeoJSON geometry, valid or not, or why it has none."""
    kind, coordinates = mapping(value).get('type'), mapping(value).get('coordinates')
    if kind not in ('Polygon', 'MultiPolygon'):
        return f'is a {kind}, not a Polygon or MultiPolygon' if kind else 'has no geometry'
    if not isinstance(coordinates, list):
        return 'has no coordinates'
    try:
        polygons = [_polygon(rings) for rings in ([coordinates] if kind == 'Polygon' else coordinates)]
    except ValueError as error:
        return str(error)
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


def _polygon(rings: Any) -> Polygon:
    """Return the polygon of GeoJSON's list of rings, the outer one first; third coordinates are left out."""
    if not isinstance(rings, list) or not rings:
        raise ValueError('has a polygon without rings')
    try:
        vertices = [ring_vertices([point[:2] for point in ring]) for ring in rings]
    except (TypeError, KeyError) as error:
        raise ValueError('has coordinates that are not lists of numbers') from error
    return Polygon(vertices[0], vertices[1:])


def _refuse_other_units(
    collector: OutlineCollector,
    value: Any,
    features: list[dict],
    geometries: list[Polygon | MultiPolygon | str],
    um_per_px: float | None,
) -> None:
    """Raise an error if the file as a whole says or shows that its unit is not pixels."""
    if isinstance(value, dict) and value.get('crs'):
        raise collector.error('has a coordinate reference system (crs), so its unit is not pixels')
    for holder in [value, *features]:
        for facts in (mapping(holder), mapping(mapping(holder).get('properties'))):
            unit = str(facts.get('unit') or facts.get('units') or '')
            if unit.lower() not in PIXEL_UNITS:
                raise collector.error(f'gives coordinates in {unit!r}, not in pixels')
    pairs = [pair for pair in zip(features, geometries, strict=True) if not isinstance(pair[1], str)]
    polygons = [geometry for _, geometry in pairs]
    stated_um2 = [_stated_area_um2(mapping(feature.get('properties'))) for feature, _ in pairs]
    if not polygons:
        return
    bounds = shapely.total_bounds(polygons)
    if bounds.min() >= 0 and bounds.max() <= FRACTION:
        raise collector.error('all coordinates lie between 0 and 1, so their unit is not pixels')
    if um_per_px is None or abs(um_per_px - 1) < SAME_AREA:
        return  # without a resolution other than 1 the areas say nothing
    known = [(area, polygon.area) for area, polygon in zip(stated_um2, polygons, strict=True) if area]
    if known and all(abs(px - um2) <= SAME_AREA * um2 for um2, px in known):
        raise collector.error('polygons have the areas that are stated in um^2, so their unit is um, not pixels')


def _stated_area_um2(properties: Mapping) -> float | None:
    """Return the area in um^2 among an object's measurements, if there is one."""
    for name, value in _measurements(properties).items():
        if name.lower().split(': ')[-1] in ('area µm^2', 'area μm^2', 'area um^2'):  # both signs for micro
            return value
    return None


def _measurements(properties: Mapping) -> dict[str, float]:
    """Return measurements as name -> value; QuPath before 0.4 wrote a list of pairs, later versions an object."""
    value = properties.get('measurements')
    if isinstance(value, list):
        value = {item.get('name'): item.get('value') for item in value if isinstance(item, dict)}
    pairs = mapping(value).items()
    # Integers beyond 2^53 are no measurements, and of some hundreds of digits no floats.
    return {
        str(name): float(number)
        for name, number in pairs
        if isinstance(number, float) or (isinstance(number, int) and abs(number) < 2**53)
    }


def _plain(class_name: str) -> str:
    """Return a class name without QuPath's mark for classes to ignore; empty for its class `Ignore*`."""
    return '' if class_name == IGNORED_CLASS else class_name.removesuffix('*')


def _features(
    outlines: Sequence[Outline],
    measurements: Iterable[Mapping[str, float]],
    object_type: str,
    colours: Mapping[str, tuple[int, int, int]],
    points: NDArray[np.float64],
) -> Iterator[dict[str, Any]]:
    """Yield the features of a file one by one, first the outlines and then the nuclei."""
    for number, (outline, values) in enumerate(zip(outlines, measurements, strict=True), start=1):
        classification = _classification(IGNORED_CLASS if outline.ignored else outline.label, colours)
        yield _feature(number, outline, values, object_type, classification)
    for number, (x, y) in enumerate(points.tolist(), start=1):
        yield {
            'type': 'Feature',
            'id': _uuid(f'{NUCLEUS} {number} {x} {y}'),
            'geometry': {'type': 'Point', 'coordinates': [x, y]},
            'properties': {'objectType': 'detection', 'classification': _classification(NUCLEUS, colours)},
        }


def _classification(name: str, colours: Mapping[str, tuple[int, int, int]]) -> dict[str, Any]:
    """Return a class as QuPath reads it."""
    return {'name': name, 'color': list(colours[name])} if name in colours else {'name': name}


def _uuid(seed: str) -> str:
    """Return the id that QuPath wants, the same whenever the file is written again."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, seed))


def _feature(
    number: int, outline: Outline, measurements: Mapping[str, float], object_type: str, classification: dict[str, Any]
) -> dict[str, Any]:
    """Return one GeoJSON feature."""
    polygons = [
        [shapely.get_coordinates(ring).tolist() for ring in (polygon.exterior, *polygon.interiors)]
        for polygon in parts_of(outline.geometry)
    ]
    one = len(polygons) == 1
    geometry = {'type': 'Polygon' if one else 'MultiPolygon', 'coordinates': polygons[0] if one else polygons}
    values = {name: float(value) for name, value in measurements.items() if np.isfinite(value)}
    if outline.score is not None:
        values[SCORE_MEASUREMENT] = outline.score
    properties = {'objectType': object_type, 'classification': classification, 'isLocked': False}
    properties['measurements'] = values
    if outline.name:
        properties['name'] = outline.name
    if outline.ignored:
        properties['metadata'] = {'label': outline.label}
    identity = _uuid(f'{number} {outline.name} {outline.geometry.bounds}')
    return {'type': 'Feature', 'id': identity, 'geometry': geometry, 'properties': properties}
