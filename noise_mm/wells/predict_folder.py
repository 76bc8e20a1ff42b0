"""All wells of a folder: predicts one after the other, writes their files and the table of the folder."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import noise_mm
from noise_mm.errors import InputError
from noise_mm.files import write_json
from noise_mm.wells.chunked import Slide
from noise_mm.wells.export import WELL_COLUMNS, well_row, write_table, write_well
from noise_mm.wells.patches import REFERENCE_UM_PER_PX
from noise_mm.wells.predict_well import TileSettings, predict_well
from noise_mm.wells.slide import SLIDE_SUFFIXES, open_slide


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Image files among `paths`, and those in folders among them, sorted by name within a folder.

    Raises:
        InputError: If a path is missing, a folder holds no image, or two images would give the same well name.
    """
    images: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in SLIDE_SUFFIXES)
            if not found:
                raise InputError(f'{path}: no images in this folder. Known suffixes: {", ".join(SLIDE_SUFFIXES)}.')
            images += found
        elif path.is_file():
            images.append(path)
        else:
            raise InputError(f'{path}: no such file or folder. Check the path.')
    by_name: dict[str, Path] = {}
    for image in images:
        other = by_name.setdefault(well_name(image), image)
        if other is not image:
            raise InputError(f'{image}: the same well name as {other}. Rename one, or predict them in two runs.')
    return images


def well_name(image: Path) -> str:
    """The name of a well: its file's name without the suffix."""
    return image.name.removesuffix(image.suffix)


def predict_folder(
    images: Sequence[Path],
    detector: Any,
    out: Path,
    settings: TileSettings,
    um_per_px: float | None,
    formats: Sequence[str],
    arguments: dict[str, Any],
) -> None:
    """Predicts and writes well after well; a bad image doesn't keep the others from being done.

    Args:
        images: Well images.
        detector: A `TileDetector`.
        out: Folder for the results.
        settings: Tiles.
        um_per_px: Pixel size of all wells; None to go by the files, or the reference where a file does not say.
        formats: Of `noise_mm.wells.export.write_well`.
        arguments: Recorded in `run.json` beside the results.

    Raises:
        InputError: At the end, if images failed; it names them.
    """
    rows, failed = [], []
    for image in images:
        try:
            with open_slide(image) as slide:
                rows.append(_predict_one(slide, detector, out, settings, um_per_px, formats))
        except InputError as error:
            print(f'failed: {error}', file=sys.stderr)
            failed.append(str(error))
    if rows:
        write_table(out / 'wells.csv', WELL_COLUMNS, rows)
        versions = {name: version(name) for name in ('torch', 'mmengine', 'mmdet', 'mmyolo', 'mmcv-lite')}
        record = {'noise_mm': noise_mm.__version__, 'versions': versions, 'arguments': arguments, 'failed': failed}
        write_json(out / 'run.json', record, indent=1)
        print(f'{len(rows)} wells, {sum(row["count"] for row in rows)} cells: see {out / "wells.csv"}')
    if failed:
        raise InputError(failed[0] if len(failed) == 1 else f'{len(failed)} of {len(images)} images failed, see above.')


def _predict_one(
    slide: Slide, detector: Any, out: Path, settings: TileSettings, um_per_px: float | None, formats: Sequence[str]
) -> dict:
    """Predicts one well and writes its files; its row of the folder's table."""
    well = well_name(slide.path)
    size = um_per_px or slide.um_per_px
    if size is None:
        size = REFERENCE_UM_PER_PX
        print(f'{well}: the file states no pixel size; taken as {size} um. Give --mpp if it is another.')
    result = predict_well(slide, detector, detector.classes, size, settings, well)
    write_well(out, well, slide, result.outlines, size, formats)
    row = well_row(well, result.outlines, size)
    print(f'{well}: {row["count"]} cells, {row["total_area_um2"]} um2; {result.seams}')
    return row
