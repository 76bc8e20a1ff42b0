"""Reads outlines from whichever of the known formats a file has."""

from pathlib import Path

from noise_mm.coco.annotations import is_coco, read_coco
from noise_mm.errors import InputError
from noise_mm.files import read_json
from noise_mm.formats.geojson import features_of, read_geojson
from noise_mm.formats.imagej import read_imagej
from noise_mm.formats.label_image import read_label_image
from noise_mm.formats.roi_csv import read_roi_csv
from noise_mm.geometry.outline import Outline

GEOJSON_SUFFIXES = ('.geojson', '.geojson.gz')
READERS = {
    '.roi': read_imagej,
    '.zip': read_imagej,
    '.csv': read_roi_csv,
    '.tiff': read_label_image,
    '.tif': read_label_image,
}
SUFFIXES = (*READERS, *GEOJSON_SUFFIXES, '.json')


def read_outlines(
    path: str | Path, size_px: tuple[int, int] | None = None, um_per_px: float | None = None
) -> list[Outline]:
    """The outlines in an annotation file of one image; the format is told by the suffix, JSON by its content.

    Args:
        path: ImageJ `.roi` or `.zip`, ROI table `.csv`, QuPath `.geojson`, `.geojson.gz` or `.json`, COCO `.json` of
            one image, label `.tif` or `.tiff`.
        size_px: Width and height of the image in pixels, to check that the outlines lie on it.
        um_per_px: Resolution of the image, to recognise GeoJSON in micrometres.

    Raises:
        InputError: If the suffix is none of these, or as the readers of the formats do.
    """
    name = str(path).lower()
    if name.endswith(GEOJSON_SUFFIXES):
        return read_geojson(path, size_px, um_per_px)
    for suffix, read in READERS.items():
        if name.endswith(suffix):
            return read(path, size_px)
    if not name.endswith('.json'):
        raise InputError(f'{path}: no annotation format has this suffix. Known are {", ".join(SUFFIXES)}.')
    value = read_json(path)
    if is_coco(value):
        return read_coco(path, size_px)
    if features_of(value) is not None:
        return read_geojson(path, size_px, um_per_px)
    raise InputError(f'{path}: neither COCO nor GeoJSON. Export the outlines as one of them.')
