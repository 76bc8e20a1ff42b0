"""ImageJ ROIs: single `.roi` files and the ROI manager's `RoiSet.zip`.

The bytes are read and written by the `roifile` package; what they mean is decided here, after ImageJ's own
`RoiDecoder`, `RoiEncoder`, `ShapeRoi` and `PolygonRoi` classes:

- Vertices of polygon, freehand and traced ROIs are pixel corners. Sub-pixel ROIs store floats, also as corners.
- A rectangle covers [left, right) x [top, bottom); sub-pixel ones store floats. Rounded corners are followed.
- An oval is the ellipse inscribed in its bounds, drawn with 256 vertices (0.01 % less area than the ellipse). ImageJ
  itself measures a polygon of whole-pixel steps, so its areas differ a little.
- A composite is a path of lines and curves filled by the even-odd rule, which makes holes.
- A spline-fitted ROI stores its knots; the closed centripetal cubic spline through them is followed.
- Lines, points, angles, text and images are not areas. They are faults and never skipped.
"""

import io
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi
from scipy.interpolate import CubicSpline
from shapely import MultiPolygon, Polygon

from noise_mm.coco.file_issues import OutlineCollector
from noise_mm.errors import InputError
from noise_mm.files import replacing
from noise_mm.geometry.outline import Outline, even_odd

logger = logging.getLogger(__name__)

VERTEX_TYPES = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
NOT_AREAS = {
    ROI_TYPE.LINE: 'a straight line',
    ROI_TYPE.FREELINE: 'a freehand line',
    ROI_TYPE.POLYLINE: 'a segmented line',
    ROI_TYPE.NOROI: 'empty',
    ROI_TYPE.ANGLE: 'an angle',
    ROI_TYPE.POINT: 'a point',
}
NOT_AREA_SUBTYPES = {ROI_SUBTYPE.TEXT: 'a text', ROI_SUBTYPE.ARROW: 'an arrow', ROI_SUBTYPE.IMAGE: 'an image'}
# Predicted cells are named after their class, such as `pre-osteoclast_0007`; ImageJ appends -1 to a name that is taken.
# In ImageJ names are seen and changed, properties are not; and a ROI that is drawn anew and put in the place of another
# (Update) keeps the name and loses the properties. So names decide.
CLASS_IN_NAME = re.compile(r'(osteoclast|pre-osteoclast)(?:[ _-]?\d+)?(?:-\d+)?', re.IGNORECASE)
NO_SLICE = (0, 0, 0)
OVAL_VERTICES = 256  # area of the inscribed 256-gon: sin(2 pi / 256) / (2 pi / 256) = 0.9999 of the ellipse
CURVE_PIECES = 64  # straight pieces for each quadratic or cubic piece of a path: less than 0.1 % of its area is lost
PATH_COORDINATES = {0: 2, 1: 2, 2: 4, 3: 6, 4: 0}  # java.awt.geom.PathIterator: move, line, quadratic, cubic, close
# What roifile raises on bytes that are not a whole ROI.
DAMAGED_ROI = (ValueError, TypeError, IndexError, struct.error)
# What zipfile raises on damaged or encrypted entries.
DAMAGED_ENTRY = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def read_imagej(
    path: str | Path, size_px: tuple[int, int] | None = None, label: str = 'osteoclast', repair: bool = True
) -> list[Outline]:
    """The outlines of a `.roi` file or of a zip of them, in the order of the file.

    Each outline has the ROI's name, or that of the file or zip entry where the ROI has none. Its class is that of its
    name, where it is called after one (`pre-osteoclast_0007`); else class and score are read back where `write_imagej`
    stored them.

    Args:
        path: A `.roi` or `.zip` file.
        size_px: Width and height of the image, to check that the outlines lie on it.
        label: Class of ROIs that do not say their class.
        repair: Whether self-crossing outlines are repaired (and logged) or faults.

    Raises:
        InputError: If the file or an entry is damaged, or entries are not ROIs, not areas, without area, or outside
            the image.
    """
    path = Path(path)
    collector = OutlineCollector(path, 'Correct these in ImageJ and save the ROIs again.', size_px, repair)
    slices = set()
    for entry, data in _entries(path, collector):
        try:
            roi = ImagejRoi.frombytes(data)
            what = _not_an_area(roi)
            if what:
                collector.add(entry, f'is {what}, not an area')
                continue
            geometry = _geometry(roi)
        except DAMAGED_ROI as error:
            collector.add(entry, f'not a whole ImageJ ROI ({error})')
            continue
        slices.add((roi.position, roi.z_position, roi.t_position))
        facts = dict(line.split(': ', 1) for line in roi.props.splitlines() if ': ' in line)
        name = roi.name or Path(entry).stem
        in_name = CLASS_IN_NAME.fullmatch(name)
        fields = {
            'name': name,
            'label': in_name[1].lower() if in_name else facts.get('class', label),
            'score': _score(facts.get('score')),
            'ignored': facts.get('ignored') == 'true',
        }
        if isinstance(geometry, np.ndarray):
            collector.add_ring(entry, geometry, **fields)
        else:
            collector.add_geometry(entry, geometry, **fields)
    if len(slices - {NO_SLICE}) > 1:  # what is added in ImageJ to a single image has none
        logger.warning('%s: ROIs lie on %d slices of a stack; all are taken for one image', path, len(slices))
    return collector.finish()


def write_imagej(
    path: str | Path,
    outlines: Sequence[Outline],
    position: int = 0,
    colours: Mapping[str, tuple[int, int, int]] | None = None,
) -> None:
    """Writes a `.roi` file (one outline) or a zip for the ROI manager, whole or not at all.

    Outlines become sub-pixel polygons, or composites where they have holes or several parts; coordinates are
    32-bit floats (0.008 px apart at 100,000 px). Names are made unique by appending numbers, as ImageJ does;
    outlines without a name get their number. Class, score and whether the outline is to be ignored are stored as
    ROI properties.

    Args:
        path: File to write; an existing zip is replaced and not added to.
        outlines: The outlines.
        position: Slice of the stack, from 1, that the ROIs belong to; 0 for none.
        colours: RGB of the line by class; other classes have ImageJ's own colour.

    Raises:
        InputError: If the suffix is neither, or `.roi` is asked for another number of outlines than one.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in ('.roi', '.zip'):
        raise InputError(f'{path}: ImageJ ROIs are .roi or .zip files. Choose one of these suffixes.')
    if suffix == '.roi' and len(outlines) != 1:
        raise InputError(f'{path}: a .roi file holds one ROI, not {len(outlines)}. Choose the suffix .zip.')
    names = _unique_names(outlines)
    # One after the other: as bytes, the ROIs of a large well are many times the size of the zip.
    rois = (_roi(*pair, position, colours or {}).tobytes() for pair in zip(outlines, names, strict=True))
    with replacing(path) as temporary:
        if suffix == '.roi':
            temporary.write_bytes(next(rois))
            return
        with zipfile.ZipFile(temporary, 'w', zipfile.ZIP_DEFLATED) as archive:
            for roi, name in zip(rois, _entry_names(names), strict=True):
                # A fixed date, the earliest that zip knows: the same outlines give the same bytes.
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), roi, zipfile.ZIP_DEFLATED)


def _entries(path: Path, collector: OutlineCollector) -> list[tuple[str, bytes]]:
    """The names and bytes of all ROIs in a file; damaged entries are noted as faults."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file. Check the path.') from error
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error}). Check the path.') from error
    if path.suffix.lower() != '.zip':
        return [(path.name, data)]
    entries = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():  # by entry and not by name: a zip may hold two entries of one name
                if info.is_dir() or info.filename.startswith('__MACOSX/') or info.filename.endswith('.DS_Store'):
                    continue  # what macOS adds by itself
                if not info.filename.lower().endswith('.roi'):
                    collector.add(info.filename, 'is not a .roi entry')
                    continue
                try:
                    entries.append((info.filename, archive.read(info)))
                except DAMAGED_ENTRY as error:
                    collector.add(info.filename, f'damaged or encrypted entry ({error})')
    except zipfile.BadZipFile as error:
        raise collector.error(f'not a whole zip file ({error})') from error
    return entries


def _not_an_area(roi: ImagejRoi) -> str | None:
    """What a ROI is if it is no area, else None."""
    if roi.subtype in NOT_AREA_SUBTYPES:
        return NOT_AREA_SUBTYPES[roi.subtype]
    if roi.roitype in NOT_AREAS:
        return NOT_AREAS[roi.roitype]
    if roi.roitype not in (*VERTEX_TYPES, ROI_TYPE.RECT, ROI_TYPE.OVAL):
        return f'of the unknown type {roi.roitype.value}'
    return None


def _geometry(roi: ImagejRoi) -> NDArray[np.float64] | Polygon | MultiPolygon:
    """The vertices (n, 2) of a ROI that is an area, or the geometry of a composite.

    Raises:
        ValueError: If the ROI's data are not complete.
    """
    if roi.composite:
        if roi.multi_coordinates is None:
            raise ValueError('a composite without a path')
        return even_odd(_path_rings(roi.multi_coordinates))
    if roi.roitype == ROI_TYPE.OVAL:
        return _ellipse(*_bounds(roi))
    if roi.roitype == ROI_TYPE.RECT:
        return _rectangle(*_bounds(roi), corner_px=max(roi.rounded_rect_arc_size, 0))
    if roi.subpixel_coordinates is not None:
        vertices = roi.subpixel_coordinates.astype(np.float64)
    else:
        vertices = roi.integer_coordinates.astype(np.float64) + np.array([roi.left, roi.top])
    return _spline(vertices) if roi.options & ROI_OPTIONS.SPLINE_FIT and len(vertices) > 2 else vertices


def _bounds(roi: ImagejRoi) -> tuple[float, float, float, float]:
    """Left, top, width and height of a rectangle or oval."""
    if roi.subpixelrect:
        return roi.xd, roi.yd, roi.widthd, roi.heightd
    return roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top


def _ellipse(left: float, top: float, width: float, height: float) -> NDArray[np.float64]:
    """Vertices (n, 2) of the ellipse inscribed in a rectangle."""
    angle = np.arange(OVAL_VERTICES) * (2 * np.pi / OVAL_VERTICES)
    unit = 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return [left, top] + unit * [width, height]


def _rectangle(left: float, top: float, width: float, height: float, corner_px: float) -> NDArray[np.float64]:
    """Vertices (n, 2) of a rectangle whose corners are quarters of an ellipse with the diameter `corner_px`."""
    if not corner_px:
        return np.array([left, top] + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [width, height], dtype=np.float64)
    diameter = np.minimum(corner_px, [width, height])
    ellipse = _ellipse(0, 0, *diameter)
    # The ellipse pulled apart at its middle: what lies right of it moves right, what lies below it down.
    pulled = ellipse + np.where(ellipse > diameter / 2, [width, height] - diameter, 0)
    return np.array([left, top]) + pulled


def _spline(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vertices (n, 2), about a pixel apart, of the closed cubic spline through `knots`.

    The parameter grows by the square root of the knots' distance, as in ImageJ's `PolygonRoi.fitSpline`.
    """
    closed = np.concatenate([knots, knots[:1]])
    distances = np.hypot(*np.diff(closed, axis=0).T)
    parameter = np.concatenate([[0], np.cumsum(np.maximum(np.sqrt(distances), 1e-3))])
    count = max(100, int(np.ceil(distances.sum())))
    return CubicSpline(parameter, closed, bc_type='periodic')(np.arange(count) * (parameter[-1] / count))


def _path_rings(path: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """The closed rings of a composite's path, each (n, 2); rings of fewer than three points enclose nothing.

    `path` holds segments: a kind (`PATH_COORDINATES`) and its points, one after the other. Curves become
    `CURVE_PIECES` straight pieces each.

    Raises:
        ValueError: If a segment is unknown or cut short, or the path does not begin with a move.
    """
    values = path.astype(np.float64)
    rings: list[list[NDArray]] = []
    place = 0
    while place < len(values):
        kind = int(values[place])
        count = PATH_COORDINATES.get(kind)
        if count is None or place + 1 + count > len(values) or (kind != 0 and not rings):
            raise ValueError(f'the path of the composite is damaged at number {place}')
        points = values[place + 1 : place + 1 + count].reshape(-1, 2)
        place += 1 + count
        if kind == 0:
            rings.append([points[0]])
        elif kind != 4:
            rings[-1].extend(_bezier(np.concatenate([rings[-1][-1:], points])) if kind > 1 else points)
    rings = [ring for ring in rings if len(np.unique(ring, axis=0)) > 2]
    if not rings:
        raise ValueError('the composite encloses nothing')
    return [np.array(ring) for ring in rings]


def _bezier(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (`CURVE_PIECES`, 2) along the Bezier curve with the control points (3 or 4, 2), the first left out."""
    share = np.arange(1, CURVE_PIECES + 1)[:, None, None] / CURVE_PIECES
    levels = np.broadcast_to(points, (CURVE_PIECES, *points.shape))
    while levels.shape[1] > 1:  # de Casteljau
        levels = (1 - share) * levels[:, :-1] + share * levels[:, 1:]
    return levels[:, 0]


def _roi(outline: Outline, name: str, position: int, colours: Mapping[str, tuple[int, int, int]]) -> ImagejRoi:
    """The ROI of an outline."""
    geometry = outline.geometry
    rings = [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(shapely.get_parts(geometry))]
    if len(rings) == 1:
        roi = ImagejRoi.frompoints(rings[0])
        roi.roitype = ROI_TYPE.POLYGON
        roi.options = ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    else:
        roi = ImagejRoi(roitype=ROI_TYPE.RECT)
        left, top, right, bottom = geometry.bounds
        roi.left, roi.top = int(np.floor(left)), int(np.floor(top))
        roi.right, roi.bottom = int(np.ceil(right)), int(np.ceil(bottom))
        roi.multi_coordinates = np.concatenate([_path(ring) for ring in rings]).astype(np.float32)
        roi.shape_roi_size = len(roi.multi_coordinates)
    roi.name = name
    roi.position = position
    if outline.label in colours:
        roi.stroke_color = bytes([255, *colours[outline.label]])  # opaque
    facts = [f'class: {outline.label}']
    if outline.score is not None:
        facts.append(f'score: {outline.score!r}')
    if outline.ignored:
        facts.append('ignored: true')
    roi.props = ''.join(f'{fact}\n' for fact in facts)
    return roi


def _path(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """The path segments of one closed ring (n, 2): a move, lines and a close."""
    kinds = np.r_[0.0, np.ones(len(ring) - 1)]
    return np.append(np.column_stack([kinds, ring]).ravel(), 4.0)


def _unique_names(outlines: Sequence[Outline]) -> list[str]:
    """A name for each outline: its own, with a number appended from the second use on, or its number."""
    names: list[str] = []
    taken: set[str] = set()
    for number, outline in enumerate(outlines, start=1):
        # roifile counts characters where the format counts 16-bit units: others would make it store a wrong length.
        name = ''.join(character if ord(character) < 0x10000 else '_' for character in outline.name)
        names.append(_untaken(name or f'{number:04d}', taken))
        taken.add(names[-1])
    return names


def _entry_names(names: Sequence[str]) -> list[str]:
    """Names of zip entries for ROI names, different on file systems that take a and A for the same."""
    entries: list[str] = []
    taken: set[str] = set()
    for name in names:
        safe = ''.join('_' if character in '/\\:*?"<>|' or character < ' ' else character for character in name)
        entry = _untaken(safe, taken, fold_case=True)
        taken.add(entry.lower())
        entries.append(f'{entry}.roi')
    return entries


def _untaken(wanted: str, taken: set[str], fold_case: bool = False) -> str:
    """`wanted`, or the first of `wanted-1`, `wanted-2` and so on that is not in `taken`."""
    name, number = wanted, 0
    while (name.lower() if fold_case else name) in taken:
        number += 1
        name = f'{wanted}-{number}'
    return name


def _score(text: str | None) -> float | None:
    """A stored score; None where there is none, or where other software means something else by the word."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
