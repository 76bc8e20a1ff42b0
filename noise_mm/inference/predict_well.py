"""A well image and a detector -> the outline of every cell, once.

Inference runs over overlapping tiles at the magnification of the training patches. Tiles are read row by row, and a
cell becomes an outline as soon as no further row can change it. Memory therefore holds a band of the image, the masks
of a few rows and the outlines, but neither the whole image nor all masks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from noise_mm.geometry.outline import Outline
from noise_mm.geometry.packed_outlines import LazyOutlines, PackedOutline
from noise_mm.geometry.pixels import trace
from noise_mm.geometry.tiles import Window, window_grid
from noise_mm.geometry.windows import clipped, scaled
from noise_mm.inference.detection import SCORE_THR, Detection
from noise_mm.inference.merge.merge import Merger, SeamReport
from noise_mm.inference.tile_pipeline import OneStage, StagedDetector, TileRow, predict_rows
from noise_mm.measure.found import Found
from noise_mm.measure.nuclei import Nuclei, NucleiMerger
from noise_mm.patches.cutting import at_reference
from noise_mm.progress import Progress
from noise_mm.scale import scale_to_reference
from noise_mm.slides.chunked import Slide

Detector = StagedDetector | Callable[[Sequence[np.ndarray]], list[list[Detection]]]
"""Takes tiles (height, width, 3) uint8 RGB and returns the objects of each, in pixels of the tile."""

NucleusFinder = StagedDetector | Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Takes the same tiles and returns the nuclei of each: (n, 3) x, y and score."""


@dataclass(frozen=True)
class TileSettings:
    """The tiles of a well.

    Attributes:
        tile_px: Side of a tile at the reference magnification; the size of the training patches.
        stride_px: Distance between neighbouring tiles.
        batch_size: Largest number of tiles in a batch of the network.
        skip_background: Whether tiles that show only background are skipped.
        score_thr: Cells whose score falls below it by vote of the tiles are left out; see
            `noise_mm.inference.merge.votes`.
        zoom: Factor on the magnification at which the network sees the well; measures do not depend on it.
    """

    tile_px: int = 832
    stride_px: int = 416
    batch_size: int = 4
    skip_background: bool = False
    score_thr: float = SCORE_THR
    zoom: float = 1.0


@dataclass(frozen=True)
class WellResult(Found):
    """What was found in one well, highest score first, and how.

    Attributes:
        seams: How the tile detections were joined; places in pixels of the well image.
        tiles: Number of tiles.
        skipped: Number of tiles skipped as background.
    """

    seams: SeamReport = field(default_factory=SeamReport)
    tiles: int = 0
    skipped: int = 0


@dataclass(frozen=True, eq=False)
class TiledWell:
    """A well image and its tiles.

    Attributes:
        slide: The image.
        view: The image at the reference magnification, times the zoom.
        scale: Pixels of `view` per pixel of `slide`.
        settings: Tiles.
        rows: The windows of each row of tiles in `view`, from the top down.
    """

    slide: Slide
    view: Slide
    scale: float
    settings: TileSettings
    rows: list[list[Window]]

    @classmethod
    def of(cls, slide: Slide, mpp: float, settings: TileSettings) -> 'TiledWell':
        """Return the tiles of an image whose pixels are `mpp` um wide."""
        scale = scale_to_reference(mpp) * settings.zoom
        view = at_reference(slide, scale)
        windows = window_grid(view.width_px, view.height_px, settings.tile_px, settings.stride_px)
        rows: list[list[Window]] = [[] for _ in range(windows[-1].row + 1)]
        for window in windows:
            rows[window.row].append(window)
        return cls(slide, view, scale, settings, rows)


def predict_well(
    slide: Slide,
    detector: Detector,
    classes: Sequence[str],
    mpp: float,
    settings: TileSettings,
    label: str,
    nucleus_finder: NucleusFinder | None = None,
) -> WellResult:
    """Find the cells of one well and, with `nucleus_finder`, its nuclei.

    Args:
        slide: The well image.
        detector: See `Detector`.
        classes: Names of the detector's classes.
        mpp: Pixel size of the well image in um.
        settings: Tiles.
        label: What lines of progress begin with.
        nucleus_finder: See `NucleusFinder`.

    Raises:
        InputError: If the image turns out to be damaged.
        NetworkError: If a detector cannot do its work.
    """
    well = TiledWell.of(slide, mpp, settings)
    collector = _WellCollector(well, classes, with_nuclei=nucleus_finder is not None)
    detectors = [
        each if isinstance(each, StagedDetector) else OneStage(each)
        for each in (detector, nucleus_finder)
        if each is not None
    ]
    with Progress(label, sum(map(len, well.rows)), unit='tiles') as progress:
        predict_rows(
            well.view,
            well.rows,
            detectors,
            settings.batch_size,
            collector.add_row,
            progress,
            settings.skip_background,
        )
    return collector.close()


class _WellCollector:
    """Makes the result of a well from its rows of tiles, which come in order.

    Args:
        well: The well.
        classes: Names of the detector's classes.
        with_nuclei: Whether rows hold nuclei, too.
    """

    def __init__(self, well: TiledWell, classes: Sequence[str], with_nuclei: bool = False) -> None:
        self.well, self.classes = well, classes
        width_px, height_px = well.view.width_px, well.view.height_px
        self._cells = Merger(width_px, height_px, score_thr=well.settings.score_thr)
        grid_px = width_px, height_px, well.settings.tile_px, well.settings.stride_px
        self._nuclei = NucleiMerger(*grid_px) if with_nuclei else None
        self._outlines: list[PackedOutline] = []
        self._tiles = self._skipped = 0

    def add_row(self, row: TileRow) -> None:
        """Add the next row; cells that end above the row after it become outlines."""
        for window, found in zip(row.windows, row.found, strict=True):
            if found is None:  # a skipped tile has no say on what other tiles show
                continue
            self._cells.add_tile(window, [_placed(detection, window) for detection in found[0]])
            if self._nuclei is not None:
                self._nuclei.add_tile(window, found[1])
        self._tiles += len(row.windows)
        self._skipped += row.skipped
        following = row.windows[0].row + 1
        if following < len(self.well.rows):
            self._trace(self._cells.finish_above(self.well.rows[following][0].y))

    def close(self) -> WellResult:
        """Return the result, after the last row."""
        self._trace(self._cells.close())
        ordered = sorted(self._outlines, key=lambda packed: (-packed.score, packed.outline().geometry.bounds))
        named = LazyOutlines(len(ordered), lambda i: ordered[i].outline(f'{ordered[i].label}_{i + 1:04d}'))
        well, seams = self.well, self._cells.report
        places = tuple((int(x / well.scale), int(y / well.scale)) for x, y in seams.unresolved)
        nuclei = None
        if self._nuclei is not None:
            nuclei = Nuclei.in_well(self._nuclei.close(), well.scale, (well.slide.width_px, well.slide.height_px))
        return WellResult(named, nuclei, replace(seams, unresolved=places), self._tiles, self._skipped)

    def _trace(self, cells: Sequence[Detection]) -> None:
        outlines = (_outline(cell, self.well.slide, self.well.scale, self.classes) for cell in cells)
        self._outlines += [PackedOutline.of(outline) for outline in outlines if not outline.geometry.is_empty]


def _outline(cell: Detection, slide: Slide, scale: float, classes: Sequence[str]) -> Outline:
    """Turn a mask at the reference magnification into an outline in the well image.

    The last pixel of a resampled well may lie mostly outside the image. Outlines are clipped there, and are empty
    where not even a sliver is left.
    """
    geometry = scaled(trace(cell.mask, cell.x, cell.y), 1 / scale)
    inside = clipped(geometry, 0, 0, slide.width_px, slide.height_px)
    return Outline(inside, label=classes[cell.label], score=cell.score, marks=cell.marks)


def _placed(detection: Detection, window: Window) -> Detection:
    """Shift a detection from pixels of the tile to pixels of the well."""
    return replace(detection, x=detection.x + window.x, y=detection.y + window.y)
