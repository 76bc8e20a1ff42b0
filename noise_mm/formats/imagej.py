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
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from noise_mm.coco.file_issues import FileIssues, OutlineCollector
from noise_mm.errors import InputError
from noise_mm.files import read_bytes, replacing
from noise_mm.formats.imagej_shapes import VERTEX_TYPES, WRAP_PX, unwrapped_shape
from noise_mm.formats.packed_json import DAMAGED_ZIP, archive_entries
from noise_mm.geometry.outline import Outline

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
# What roifile raises on bytes that are not a whole ROI.
DAMAGED_ROI = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, struct.error)
LARGEST_ROI_BYTES = 2**26  # eight million vertices; a damaged or hostile entry may claim to unpack to anything


def read_imagej(
    path: str | Path, size_px: tuple[int, int] | None = None, notes: list[str] | None = None
) -> list[Outline]:
    """Return the outlines of a `.roi` file or of a zip of them, in the order of the file.

    Each outline has the ROI's name, or that of the file or zip entry where the ROI has none. Its class is that of its
    name, where it is called after one (`pre-osteoclast_0007`); else class and score are read back where `write_imagej`
    stored them. A ROI that lies wholly left of or above the image and fits into it when 65,536 px are added was wrapped
    by ImageJ, and is moved back with a note.

    Args:
        path: A `.roi` or `.zip` file.
        size_px: Width and height of the image, to check that the outlines lie on it.
        notes: Takes what was changed or assumed.

    Raises:
        InputError: If the file or an entry is damaged, or entries are not ROIs, not areas, without area, or outside
            the image; or if a ROI at the left or upper border may have been wrapped.
    """
    path = Path(path)
    remedy = 'Correct these in ImageJ and save the ROIs again.'
    collector = OutlineCollector(path, remedy, size_px, notes=[] if notes is None else notes)
    slices, unwrapped = set(), []
    for entry, data in roi_entries(path, collector):
        try:
            roi = ImagejRoi.frombytes(data)
            what = _not_an_area(roi)
            if what:
                collector.add(entry, f'is {what}, not an area')
                continue
            geometry, moved = unwrapped_shape(roi, size_px)
        except DAMAGED_ROI as error:
            collector.add(entry, f'not a whole ImageJ ROI ({error})')
            continue
        if moved:
            unwrapped.append(entry)
        slices.add((roi.position, roi.z_position, roi.t_position))
        facts = dict(line.split(': ', 1) for line in roi.props.splitlines() if ': ' in line)
        name = roi.name or Path(entry).stem
        in_name = CLASS_IN_NAME.fullmatch(name)
        fields = {
            'name': name,
            'label': in_name[1].lower() if in_name else facts.get('class', Outline.label),
            'score': _score(facts.get('score', '')),
            'ignored': facts.get('ignored') == 'true',
        }
        if isinstance(geometry, np.ndarray):
            collector.add_ring(entry, geometry, **fields)
        else:
            collector.add_geometry(entry, geometry, **fields)
    if len(slices - {NO_SLICE}) > 1:  # what is added in ImageJ to a single image has none
        collector.note(f'ROIs lie on {len(slices)} slices of a stack; all are taken for one image')
    if unwrapped:
        collector.note(
            f'{len(unwrapped)} ROIs had coordinates that ImageJ wrapped at {WRAP_PX:,} px and were moved back '
            f'({", ".join(unwrapped[:3])}{", ..." * (len(unwrapped) > 3)})'
        )
    return collector.finish()


def write_imagej(
    path: str | Path,
    outlines: Sequence[Outline],
    position: int = 0,
    colours: Mapping[str, tuple[int, int, int]] | None = None,
) -> None:
    """Write a `.roi` file (one outline) or a zip for the ROI manager, whole or not at all.

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
    names = _roi_names(outlines)
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


def roi_entries(path: Path, collector: FileIssues) -> list[tuple[str, bytes]]:
    """Return the names and bytes of all ROIs in a file; damaged entries become issues."""
    data = read_bytes(path)
    if path.suffix.lower() != '.zip':
        return [(path.name, data)]
    entries = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive_entries(archive):  # by entry and not by name: a zip may hold two entries of one name
                if not info.filename.lower().endswith('.roi'):
                    collector.add(info.filename, 'is not a .roi entry')
                elif info.file_size > LARGEST_ROI_BYTES:
                    collector.add(info.filename, f'unpacks to {info.file_size:,} bytes, too many for a ROI')
                else:
                    try:
                        entries.append((info.filename, archive.read(info)))
                    except DAMAGED_ZIP as error:
                        collector.add(info.filename, f'damaged or encrypted entry ({error})')
    except DAMAGED_ZIP as error:
        raise collector.error(f'not a whole zip file ({error})') from error
    return entries


def _not_an_area(roi: ImagejRoi) -> str | None:
    """Return what a ROI is if it is no area, else None."""
    is_area = roi.roitype in (*VERTEX_TYPES, ROI_TYPE.RECT, ROI_TYPE.OVAL)
    unknown = None if is_area else f'of the unknown type {roi.roitype.value}'
    return NOT_AREA_SUBTYPES.get(roi.subtype) or NOT_AREAS.get(roi.roitype) or unknown


def _roi(outline: Outline, name: str, position: int, colours: Mapping[str, tuple[int, int, int]]) -> ImagejRoi:
    """Return the ROI of an outline."""
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
    score = '' if outline.score is None else f'score: {outline.score!r}\n'
    roi.props = f'class: {outline.label}\n{score}' + 'ignored: true\n' * outline.ignored
    return roi


def _path(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the path segments of one closed ring (n, 2): a move, lines and a close."""
    kinds = np.r_[0.0, np.ones(len(ring) - 1)]
    return np.append(np.column_stack([kinds, ring]).ravel(), 4.0)


def _roi_names(outlines: Sequence[Outline]) -> list[str]:
    """Return a name for each outline: its own, with a number appended from the second use on, or its number."""
    # roifile counts characters where the format counts 16-bit units: others would make it store a wrong length.
    own = (re.sub('[^\\u0000-\\uffff]', '_', outline.name) for outline in outlines)
    return _unique([name or f'{number:04d}' for number, name in enumerate(own, start=1)], str)


def _entry_names(names: Sequence[str]) -> list[str]:
    """Return names of zip entries for ROI names, different on file systems that take a and A for the same."""
    return [
        f'{name}.roi' for name in _unique([re.sub(r'[/\\:*?"<>|\x00-\x1f]', '_', name) for name in names], str.lower)
    ]


def _unique(names: Sequence[str], key: Callable[[str], str]) -> list[str]:
    """Return the names, each that is taken (by `key`) with the first of -1, -2 and so on that is free."""
    taken: dict[str, str] = {}
    for wanted in names:
        name, number = wanted, 0
        while key(name) in taken:
            number += 1
            name = f'{wanted}-{number}'
        taken[key(name)] = name
    return list(taken.values())


def _score(text: str) -> float | None:
    """Return a stored score; None where there is none, or where other software means something else by the word."""
    try:
        score = float(text)
    except ValueError:
        return None
    return score if np.isfinite(score) else None
