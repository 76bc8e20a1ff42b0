"""Read outlines from whichever of the known formats a file has."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from noise_mm.coco.outlines import coco_outlines
from noise_mm.coco.reader import CocoContent, is_coco, read_content
from noise_mm.errors import InputError
from noise_mm.files import read_bytes
from noise_mm.formats.geojson import features_of, geojson_outlines
from noise_mm.formats.imagej import read_imagej
from noise_mm.formats.label_image import read_label_image
from noise_mm.formats.packed_json import is_zipped_json, read_packed_json
from noise_mm.formats.roi_csv import read_roi_csv
from noise_mm.geometry.outline import Outline

JSON_SUFFIXES = ('.json', '.json.gz', '.geojson', '.geojson.gz')
LABEL_SUFFIXES = ('.tif', '.tiff', '.png')
SUFFIXES = ('.roi', '.zip', '.csv', *LABEL_SUFFIXES, *JSON_SUFFIXES)


def read_outlines(
    path: str | Path,
    size_px: tuple[int, int] | None = None,
    um_per_px: float | None = None,
    *,
    file_name: str | None = None,
    crowd: str | None = None,
    key: Callable[[str], str] = str,
    notes: list[str] | None = None,
) -> list[Outline]:
    """Return the outlines of one image; the format is told by the suffix, JSON (zipped, too) by its content.

    Args:
        path: ImageJ `.roi` or `.zip`, ROI table `.csv`, label image `.tif`, `.tiff` or `.png`, QuPath GeoJSON
            (`.geojson` or `.json`, also packed as `.gz` or `.zip`), or COCO `.json`.
        size_px: Width and height of the image in pixels, to check that the outlines lie on it.
        um_per_px: Resolution of the image, to recognise GeoJSON in micrometres.
        file_name: Name of the image, to find it in a COCO file of several.
        crowd: What `iscrowd` means in COCO files, see `coco.outlines`.
        key: What of a file name tells images apart in a COCO file, such as the name of the well.
        notes: Takes what was left out, assumed or changed; the log says it too.

    Raises:
        InputError: If the suffix is none of these, or as the readers of the formats do.
    """
    name = str(path).lower()
    if name.endswith(JSON_SUFFIXES):
        content = read_annotation_json(path)
    elif name.endswith('.zip'):
        data = read_bytes(path)
        if not is_zipped_json(data):
            return read_imagej(path, size_px, notes=notes)
        content = _told_apart(read_packed_json(path, data), path)
    elif name.endswith('.roi'):
        return read_imagej(path, size_px, notes=notes)
    elif name.endswith('.csv'):
        return read_roi_csv(path, size_px, notes=notes)
    elif name.endswith(LABEL_SUFFIXES):
        return read_label_image(path, size_px, notes=notes)
    else:
        raise InputError(f'{path}: no annotation format has this suffix. Known are {", ".join(SUFFIXES)}.')
    if isinstance(content, CocoContent):
        return coco_outlines(content, path, size_px, file_name, crowd=crowd, notes=notes, key=key)
    return geojson_outlines(content, path, size_px, um_per_px, notes=notes)


def read_annotation_json(path: str | Path) -> CocoContent | Any:
    """Return the content of a COCO file, or the parsed value of a GeoJSON file.

    The last file is kept, because one COCO file may hold the annotations of all wells of a plate.

    Raises:
        InputError: If it is neither.
    """
    path = Path(path)
    status = path.stat() if path.exists() else None
    return _read_annotation_json(path, status and (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=1)
def _read_annotation_json(path: Path, _state: tuple[int, int] | None) -> CocoContent | Any:
    return _told_apart(read_packed_json(path), path)


def _told_apart(value: Any, path: str | Path) -> CocoContent | Any:
    """Return a COCO file's content, or GeoJSON as it is."""
    if is_coco(value):
        return read_content(value, str(path))
    if features_of(value) is not None:
        return value
    raise InputError(f'{path}: neither COCO nor GeoJSON. Export the outlines as one of them.')
