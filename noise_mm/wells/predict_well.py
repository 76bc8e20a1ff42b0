"""A well image and a detector -> the outline of every cell, once.

The well is looked at through overlapping tiles at the magnification of the training patches. Tiles are read row by
row, so a large TIFF is never in memory as a whole.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from noise_mm.annotations.outline import Outline
from noise_mm.annotations.pixels import trace
from noise_mm.wells.chunked import Slide
from noise_mm.wells.cutting import at_reference
from noise_mm.wells.detection import Detection
from noise_mm.wells.merge import Merger, SeamReport
from noise_mm.wells.outlines import clipped, scaled
from noise_mm.wells.patches import scale_to_reference
from noise_mm.wells.progress import Progress
from noise_mm.wells.tiles import Window, window_grid

Detector = Callable[[Sequence[np.ndarray]], list[list[Detection]]]


@dataclass(frozen=True)
class TileSettings:
    """How a well is looked at.

    Attributes:
        tile_px: Side of a tile at the reference magnification; the size of the training patches.
        stride_px: Distance between neighbouring tiles.
        batch_size: Tiles that the network sees at a time.
    """

    tile_px: int = 832
    stride_px: int = 416
    batch_size: int = 4


@dataclass(frozen=True)
class WellResult:
    """What was found in one well.

    Attributes:
        outlines: One for each cell, in pixels of the well image, largest score first.
        seams: How the tiles' views were joined; places in pixels of the well image.
    """

    outlines: list[Outline]
    seams: SeamReport


def predict_well(
    slide: Slide,
    detector: Detector,
    classes: Sequence[str],
    um_per_px: float,
    settings: TileSettings,
    label: str,
) -> WellResult:
    """Finds the cells of one well.

    Args:
        slide: The well image.
        detector: Takes tiles (height, width, 3) uint8 RGB and gives the objects of each, in pixels of the tile.
        classes: Names of the detector's classes.
        um_per_px: Pixel size of the well image.
        settings: Tiles.
        label: What lines of progress begin with.

    Raises:
        InputError: If the image turns out to be damaged.
    """
    scale = scale_to_reference(um_per_px)
    view = at_reference(slide, scale)
    windows = window_grid(view.width_px, view.height_px, settings.tile_px, settings.stride_px)
    merger = Merger(view.width_px, view.height_px)
    progress = Progress(label, len(windows), settings.tile_px**2, unit='tiles')
    for chunk, tiles in _in_batches(windows, view.windows(windows), settings.batch_size):
        for window, detections in zip(chunk, detector(tiles), strict=True):
            merger.add_tile(window, [_placed(detection, window) for detection in detections])
        progress.add(len(chunk))
    progress.finish()
    outlines = [_outline(cell, slide, scale, classes) for cell in merger.close()]
    inside = [outline for outline in outlines if not outline.geometry.is_empty]
    ordered = sorted(inside, key=lambda outline: (-outline.score, outline.geometry.bounds))
    named = [replace(outline, name=f'{outline.label}_{i:04d}') for i, outline in enumerate(ordered, 1)]
    places = tuple((int(x / scale), int(y / scale)) for x, y in merger.report.unresolved)
    return WellResult(named, replace(merger.report, unresolved=places))


def _outline(cell: Detection, slide: Slide, scale: float, classes: Sequence[str]) -> Outline:
    """From a mask at the reference magnification to an outline in the well image.

    The last pixel of a resampled well may lie mostly outside the image. Outlines are clipped there, and are empty
    where not even a sliver is left.
    """
    geometry = scaled(trace(cell.mask, cell.x, cell.y), 1 / scale)
    inside = clipped(geometry, 0, 0, slide.width_px, slide.height_px)
    return Outline(inside, label=classes[cell.label], score=cell.score)


def _placed(detection: Detection, window: Window) -> Detection:
    """From pixels of the tile to pixels of the well."""
    return replace(detection, x=detection.x + window.x, y=detection.y + window.y)


def _in_batches(
    windows: Sequence[Window], tiles: Iterable[np.ndarray], batch_size: int
) -> Iterator[tuple[list[Window], list[np.ndarray]]]:
    """Windows and their pixels, `batch_size` at a time."""
    pairs = zip(windows, tiles, strict=True)
    while batch := list(islice(pairs, batch_size)):
        yield [window for window, _ in batch], [tile for _, tile in batch]
