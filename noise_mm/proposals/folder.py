"""Proposes cells for the wells of one batch and writes what a person needs to correct them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from noise_mm.csv_table import write_table
from noise_mm.files import replacing, write_json
from noise_mm.formats.geojson import write_geojson
from noise_mm.formats.imagej import write_imagej
from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.tiles import Window
from noise_mm.geometry.windows import area_um2
from noise_mm.proposals.trap_regions import ProposalSettings, choose_threshold, propose, stain_strength, to_well
from noise_mm.scale import REFERENCE_UM_PER_PX, scale_to_reference
from noise_mm.slides.resample import ResampledSlide
from noise_mm.slides.slide import open_slide
from noise_mm.slides.well_images import by_well

WORKING_SCALE = 0.5  # of the reference magnification: outlines are exact to about 1.6 um
MOST_PIXELS = 64e6  # of a reduced image in memory; larger wells are reduced further
CROP_PX, CROPS_PER_ROW, MOST_CROPS = 160, 8, 64  # of the contact sheet
COLUMNS = ('well', 'name', 'x', 'y', 'area_px2', 'area_um2', 'mean_strength')


class Reduced(NamedTuple):
    """A well image at the working scale.

    Attributes:
        path: The image file.
        um_per_px: Of the file's own pixels.
        um_per_px_from: 'file', 'option' or 'assumed'.
        scale: Reduced pixels per pixel of the file.
        rgb: Pixels (height, width, 3).
    """

    path: Path
    um_per_px: float
    um_per_px_from: str
    scale: float
    rgb: NDArray[np.uint8]


def read_reduced(path: Path, um_per_px: float | None, scene: int | None = None) -> Reduced:
    """Read a well image at the working scale.

    Args:
        path: The image file.
        um_per_px: Its pixel size; None for what the file states, else 0.7784 is assumed.
        scene: Which image to take, from 1, where the file holds several.

    Raises:
        InputError: If the file can't be read.
    """
    with open_slide(path, scene) as slide:
        taken = um_per_px or slide.mpp or REFERENCE_UM_PER_PX
        origin = 'option' if um_per_px else 'file' if slide.mpp else 'assumed'
        scale = scale_to_reference(taken) * WORKING_SCALE
        scale = min(1.0, scale, (MOST_PIXELS / (slide.width_px * slide.height_px)) ** 0.5)
        small = ResampledSlide(slide, scale)
        rgb = next(small.windows([Window(0, 0, 0, 0, small.width_px, small.height_px)]))
    return Reduced(path, taken, origin, scale, rgb)


def propose_batch(
    images: Sequence[Path],
    out: Path,
    settings: ProposalSettings,
    um_per_px: float | None,
    threshold: float | None,
    scene: int | None = None,
) -> dict[str, Any]:
    """Write the proposals of all wells of a batch.

    For each well `<well>_RoiSet.zip` and `<well>.geojson`; for all `contact_sheet.png`, `proposals.csv` and
    `proposals.json` with the settings.

    Args:
        images: The wells.
        out: The folder to write to.
        settings: What counts as a cell.
        um_per_px: Pixel size of all images; None for what each file states.
        threshold: Strength above which pixels are stained; None to choose one for the batch.
        scene: Which image to take, from 1, where files hold several.

    Returns:
        The content of `proposals.json`: settings, threshold and where it is from, and the number of proposals by well.

    Raises:
        InputError: If an image can't be read or the folder can't be written to.
    """
    origin = 'option'
    if threshold is None:
        threshold = choose_threshold([stain_strength(read_reduced(path, um_per_px, scene).rgb) for path in images])
        origin = 'chosen'
    rows, crops, counts, assumed = [], [], {}, []
    for well, path in by_well(images).items():
        reduced = read_reduced(path, um_per_px, scene)
        strength = stain_strength(reduced.rgb)
        found = propose(strength, threshold, settings, reduced.scale / scale_to_reference(reduced.um_per_px))
        outlines = to_well(found, 1 / reduced.scale)
        write_imagej(out / f'{well}_RoiSet.zip', outlines)
        write_geojson(out / f'{well}.geojson', outlines)
        rows += [_row(well, own, small, strength, reduced) for own, small in zip(outlines, found, strict=True)]
        crops += [_crop(reduced.rgb, small, f'{well} {small.name}') for small in found[: MOST_CROPS - len(crops)]]
        counts[well] = len(outlines)
        assumed += [well] if reduced.um_per_px_from == 'assumed' else []
    write_table(out / 'proposals.csv', COLUMNS, rows)
    _write_sheet(out / 'contact_sheet.png', crops)
    record = {'threshold': threshold, 'threshold_from': origin, **asdict(settings)}
    record |= {'wells': counts, 'um_per_px_assumed': assumed}
    write_json(out / 'proposals.json', record, indent=1)
    return record


def _row(well: str, outline: Outline, small: Outline, strength: NDArray, reduced: Reduced) -> dict[str, Any]:
    """Return the row of `proposals.csv` of an outline, which is `small` at the working scale."""
    mask = CellMask.of(small.geometry, strength.shape[::-1])
    within = strength[mask.y : mask.y + mask.height, mask.x : mask.x + mask.width][mask.pixels()]
    area, x, y = outline.geometry.area, *outline.geometry.centroid.coords[0]
    um2 = None if reduced.um_per_px_from == 'assumed' else round(area_um2(area, reduced.um_per_px), 1)
    values = (well, outline.name, round(x, 1), round(y, 1), round(area), um2, round(float(within.mean()), 1))
    return dict(zip(COLUMNS, values, strict=True))


def _crop(rgb: NDArray[np.uint8], outline: Outline, title: str) -> NDArray[np.uint8]:
    """Return a square picture around an outline, with the outline and its name."""
    left, top, right, bottom = outline.geometry.bounds
    side = round(max(right - left, bottom - top, 60) * 1.4)
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    padded = np.full((side, side, 3), 255, np.uint8)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + side, rgb.shape[1]), min(y + side, rgb.shape[0])
    padded[y0 - y : y1 - y, x0 - x : x1 - x] = rgb[y0:y1, x0:x1]
    scale = CROP_PX / side
    picture = cv2.resize(padded, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR)
    ring = ((np.asarray(outline.geometry.exterior.coords) - (x, y)) * scale).round().astype(np.int32)
    cv2.polylines(picture, [ring], True, (20, 200, 60), 1, cv2.LINE_AA)
    cv2.putText(picture, title, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def _write_sheet(path: Path, crops: Sequence[NDArray[np.uint8]]) -> None:
    rows = max(1, -(-len(crops) // CROPS_PER_ROW))
    sheet = np.full((rows * CROP_PX, CROPS_PER_ROW * CROP_PX, 3), 255, np.uint8)
    for number, crop in enumerate(crops):
        row, column = divmod(number, CROPS_PER_ROW)
        sheet[row * CROP_PX :, column * CROP_PX :][:CROP_PX, :CROP_PX] = crop
    with replacing(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
