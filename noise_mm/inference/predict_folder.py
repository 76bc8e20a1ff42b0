"""Predict the wells of a folder one after the other; write their files and the summary of the folder."""

import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import noise_mm
from noise_mm.distributed import Ranks
from noise_mm.errors import InputError
from noise_mm.inference.merge.merge import SeamReport
from noise_mm.inference.partition import partition
from noise_mm.inference.predict_well import NucleusFinder, TileSettings, predict_well
from noise_mm.inference.results_folder import ResultsFolder
from noise_mm.inference.tile_pipeline import NetworkError
from noise_mm.patches.planning import pixel_size
from noise_mm.report.folder import SummaryOptions
from noise_mm.report.options import WellOptions
from noise_mm.report.output_files import check_output_folder
from noise_mm.report.well import write_well
from noise_mm.scale import PixelSize, scale_to_reference
from noise_mm.slides.chunked import Slide
from noise_mm.slides.slide import open_slide
from noise_mm.slides.well_images import by_well

# Places listed in a warning; run.json has all.
MOST_PLACES = 5
# Side at the reference magnification below which an image is no well: a small cell has as much.
SMALLEST_WELL_PX = 32
# With less room on the disk no well is begun: it could not be written.
LEAST_FREE_BYTES = 2**20


@dataclass(frozen=True)
class PredictOptions:
    """How the wells of a folder are predicted.

    Attributes:
        tiles: The tiles of each well.
        mpp: Pixel size of all wells in um; None to use that of each file, or the reference where a file states none.
        scene: Number, from 1, of the image to take from files that hold several; None refuses such files.
        formats: Of `noise_mm.report.output_files.FORMATS`.
        nucleus_finder: Finds nuclei in the same tiles.
        well: How wells are measured.
        assume_mpp: Whether lengths and areas in um are given although the pixel size is only assumed.
        summary: How the wells of the folder are summed up.
        resume: Skip wells that are finished.
        metadata: What else results depend on, such as hashes of weights, as JSON values. A run with other values
            can't be resumed.
        ranks: The processes that share the wells.
    """

    tiles: TileSettings = field(default_factory=TileSettings)
    mpp: float | None = None
    scene: int | None = None
    formats: Sequence[str] = ('coco', 'csv', 'overlay')
    nucleus_finder: NucleusFinder | None = None
    well: WellOptions = field(default_factory=WellOptions)
    assume_mpp: bool = False
    summary: SummaryOptions = field(default_factory=SummaryOptions)
    resume: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ranks: Ranks = field(default_factory=Ranks)

    def settings(self) -> dict[str, Any]:
        """Return everything that results depend on, except images and versions of other packages."""
        return {
            **self.metadata,
            'noise_mm': noise_mm.__version__,
            'mpp': self.mpp,
            'assume_mpp': self.assume_mpp,
            'scene': self.scene,
            'tile_px': self.tiles.tile_px,
            'zoom': self.tiles.zoom,
            'stride_px': self.tiles.stride_px,
            'skip_background': self.tiles.skip_background,
            'formats': sorted(self.formats),
            **asdict(self.well),
        }


def predict_folder(
    images: Sequence[Path], detector: Any, out: Path, options: PredictOptions, arguments: Mapping[str, Any]
) -> None:
    """Predict and write one well after the other; a bad image does not stop the others.

    After each well its record and the summary of the folder are written. A run that is killed therefore leaves
    complete wells and a correct summary of them, and `PredictOptions.resume` continues from there. Results with other
    settings are replaced, never mixed; those of an image that fails now are deleted. `run.json` records how the
    results were made, and for each well what happened at the seams of its tiles and how many tiles were skipped.

    Args:
        images: Well images.
        detector: A `TileDetector`.
        out: Folder for the results.
        options: See `PredictOptions`.
        arguments: Recorded in `run.json`.

    Raises:
        InputError: At once, as `check_output_folder` does, or if a run with other settings is to be resumed; at the
            end, if images failed, which are named on the way.
        NetworkError: If a detector cannot do its work. Finished wells stay.
    """
    began = time.time()
    check_output_folder(out, images)
    settings, all_images = options.settings(), by_well(images)
    well_of = {image: well for well, image in all_images.items()}
    mine = [well_of[image] for image in partition(images, options.ranks)]
    folder = ResultsFolder(out, settings, arguments, all_images, mine, options.ranks, options.summary)
    for well in folder.open(options.resume):
        with _naming_failures(folder, well):
            _predict_image(well, detector, folder, options)
    _conclude(folder, began)


def _predict_image(well: str, detector: Any, folder: ResultsFolder, options: PredictOptions) -> None:
    """Predict one well and write its files.

    Raises:
        InputError: If the image can't be used or a file can't be written.
    """
    with open_slide(folder.images[well], options.scene) as slide:
        if shutil.disk_usage(folder.path).free < LEAST_FREE_BYTES:
            raise InputError(f'{folder.path}: the disk is full. Make room or choose another output folder.')
        pixel = _pixel_size(well, slide, options)
        found = predict_well(slide, detector, detector.classes, pixel.um, options.tiles, well, options.nucleus_finder)
        folder.begin_well(well)
        content = write_well(folder.path, well, slide, found, pixel, options.formats, options.well)
        content['row'] |= found.seams.columns()
        record = {
            'path': str(slide.path.resolve()),
            'seams': _seams_as_json(found.seams),
            'tiles': found.tiles,
            'background_tiles': found.skipped,
            'result': content,
        }
        folder.finish_well(well, record)
        _report(well, record, found.seams)


def _pixel_size(well: str, slide: Slide, options: PredictOptions) -> PixelSize:
    """Return the pixel size of an image, and print a note if it is only assumed.

    Raises:
        InputError: If a pyramid doesn't state it, the file contradicts itself, or the image is too small to be a well.
    """
    pixel = pixel_size(slide, options.mpp, options.assume_mpp)
    if pixel.source in ('assumed', 'accepted') and slide.smaller_levels():
        raise InputError(f'{slide.path}: a slide of several resolutions that states no pixel size. Give it with --mpp.')
    if min(slide.width_px, slide.height_px) * scale_to_reference(pixel.um) < SMALLEST_WELL_PX:
        raise InputError(
            f'{slide.path}: {slide.width_px} x {slide.height_px} px is too small for a well. Export it again.'
        )
    if pixel.source == 'assumed':
        print(
            f'{well}: the file states no pixel size; {pixel.um} um is assumed, and there are no areas '
            'in um^2. Give --mpp, or --assume-mpp if that is right.'
        )
    return pixel


@contextmanager
def _naming_failures(folder: ResultsFolder, well: str) -> Iterator[None]:
    """Name an image that fails, and go on with the next."""
    try:
        yield
        return
    except NetworkError:
        raise
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = f'{folder.images[well]}: {error.strerror or error} ({error.filename or folder.path}). Check the disk.'
    folder.fail_well(well, message)
    if len(folder.images) > 1:
        print(f'failed: {message}', file=sys.stderr)


def _conclude(folder: ResultsFolder, began: float) -> None:
    """Write the last summary and report what failed.

    Raises:
        InputError: If an image failed, or another program holds a file of the summary open.
    """
    has_summary = folder.finished or folder.ranks.count > 1 or (folder.path / 'wells.csv').exists()
    notes = folder.summarize(is_complete=True) if has_summary else []
    folder.tidy(began)
    unfinished = folder.unfinished() if folder.ranks.count > 1 else []
    if unfinished:
        print(
            f'process {folder.ranks.rank} of {folder.ranks.count} is done; {len(unfinished)} wells of others are not.'
        )
    else:
        for note in notes:
            print(f'note: {note}')
        if folder.finished:
            count = sum(record['result']['row']['count'] for record in folder.finished.values())
            print(f'{len(folder.finished)} images, {count} cells: see {folder.path / "wells.csv"}')
    if folder.in_use:
        raise InputError(folder.in_use)
    if folder.failed and len(folder.images) == 1:
        raise InputError(*folder.failed.values())
    if folder.failed:
        raise InputError(
            f'{len(folder.failed)} of {len(folder.mine)} images failed, see above. Correct or leave them out.'
        )


def _seams_as_json(seams: SeamReport) -> dict[str, Any]:
    """Return a seam report as JSON values; its places are named `unresolved_at_px`."""
    values = asdict(seams)
    places = values.pop('unresolved')
    return values | {'unresolved_at_px': [list(place) for place in places]}


def _report(well: str, record: Mapping[str, Any], seams: SeamReport) -> None:
    """Print what was found in a well, and a warning where cells may lack a part."""
    content, row = record['result'], record['result']['row']
    skipped = record['background_tiles']
    background = f'; {skipped} of {record["tiles"]} tiles are background' if skipped else ''
    unit = 'px' if row['total_area_um2'] is None else 'um'
    print(f'{well}: {row["count"]} cells, {row[f"total_area_{unit}2"]} {unit}2; {seams}{background}')
    for note in content['notes']:
        print(f'note: {well}: {note}')
    if seams.unresolved:
        places = ', '.join(f'({x}, {y})' for x, y in seams.unresolved[:MOST_PLACES])
        more = ', ...' if len(seams.unresolved) > MOST_PLACES else ''
        print(
            f'warning: {well}: {len(seams.unresolved)} cells were cut off by a tile and not found in its neighbours; '
            f'check x, y = {places}{more} px (all in run.json).',
            file=sys.stderr,
        )
