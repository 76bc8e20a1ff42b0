"""All wells of a folder: predicts one after the other, writes their files and the summary of the folder."""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import noise_mm
from noise_mm.errors import InputError
from noise_mm.files import read_json, remove_leftovers, write_json
from noise_mm.inference.merge.merge import SeamReport
from noise_mm.inference.predict_well import (
    NucleusFinder,
    TiledWell,
    TileSettings,
    WellCollector,
    WellResult,
    look_at,
    predict_well,
)
from noise_mm.inference.records import differences, image_facts, read_records, record_path, write_record
from noise_mm.inference.sharding import FOLDER as PARTS
from noise_mm.inference.sharding import Parts, Piece, Ranks, share_out
from noise_mm.inference.tile_pipeline import NetworkError
from noise_mm.report.exports import WRITERS
from noise_mm.report.folder import write_folder
from noise_mm.report.options import WellOptions
from noise_mm.report.plate_map import PlateMap
from noise_mm.report.well import write_well
from noise_mm.scale import REFERENCE_UM_PER_PX, scale_to_reference
from noise_mm.slides.chunked import Slide
from noise_mm.slides.slide import open_slide
from noise_mm.slides.well_images import FOLDER_FILES, check_output_folder, well_name

# What results depend on besides this package; `mmcv` is the module of mmcv-lite and of the full mmcv.
RECORDED_VERSIONS = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmyolo')
# Places listed in a warning; run.json has all.
MOST_PLACES = 5
# Side at the reference magnification below which an image is no well: a small cell has as much.
SMALLEST_WELL_PX = 32
# With less room on the disk no well is begun: it could not be written.
LEAST_FREE_BYTES = 2**20


@dataclass(frozen=True)
class FolderOptions:
    """What a run over a folder does besides finding cells.

    Attributes:
        nucleus_finder: Finds nuclei in the same tiles.
        well: How wells are measured.
        plate_map: The condition of each well.
        resume: Leave finished wells as they are.
        facts: What results depend on besides this module's arguments, such as hashes of weights: a run with others
            can't be resumed. JSON values.
        ranks: The processes that share the wells.
    """

    nucleus_finder: NucleusFinder | None = None
    well: WellOptions = field(default_factory=WellOptions)
    plate_map: PlateMap | None = None
    resume: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    ranks: Ranks = field(default_factory=Ranks)


def predict_folder(
    images: Sequence[Path],
    detector: Any,
    out: Path,
    settings: TileSettings,
    um_per_px: float | None,
    formats: Sequence[str],
    arguments: dict[str, Any],
    options: FolderOptions | None = None,
) -> None:
    """Predicts and writes well after well; a bad image doesn't keep the others from being done.

    After each well its record is written, and the folder's summary anew. So a run that was cut leaves whole wells and
    a correct summary of them, and `FolderOptions.resume` goes on from there. Results that other settings have left in
    the folder are replaced, not mixed with; those of an image that cannot be done any more are deleted. `run.json`
    tells how the results were made, and for each well what happened at the seams of its tiles and how many tiles were
    taken for background.

    Args:
        images: Well images.
        detector: A `TileDetector`.
        out: Folder for the results.
        settings: Tiles.
        um_per_px: Pixel size of all wells; None to go by the files, or the reference where a file does not say.
        formats: Of `noise_mm.report.options.FORMATS`.
        arguments: Recorded in `run.json` beside the results.
        options: See `FolderOptions`.

    Raises:
        InputError: At once, as `check_output_folder` does, or if a run of other settings is to be resumed; at the
            end, if images failed, which are named on the way.
        NetworkError: If a detector cannot do its work; what is finished then, stays.
    """
    check_output_folder(out, images)
    run = _Run(images, detector, out, settings, um_per_px, tuple(formats), arguments, options or FolderOptions())
    run.go()


class _Run:
    """One process's share of a run; arguments as those of `predict_folder`."""

    def __init__(
        self,
        images: Sequence[Path],
        detector: Any,
        out: Path,
        settings: TileSettings,
        um_per_px: float | None,
        formats: tuple[str, ...],
        arguments: dict[str, Any],
        options: FolderOptions,
    ) -> None:
        self.images, self.detector, self.out, self.tiles = images, detector, out, settings
        self.um_per_px, self.formats, self.arguments, self.options = um_per_px, formats, arguments, options
        self.ranks, self.parts = options.ranks, Parts(out, options.ranks)
        self.settings = self._settings()
        self.began = time.time()
        self.finished: dict[str, dict[str, Any]] = {}  # records of wells of these settings
        self.failed: list[str] = []

    def go(self) -> None:
        """Does everything; see `predict_folder`."""
        if self.ranks.count == 1:
            self._predict()
        else:
            self.parts.arrive()
            has_ended = False
            try:
                self._predict()
                has_ended = True
            finally:
                self.parts.leave(self.failed if has_ended else None)
            if self.ranks.rank:
                return
            try:
                self.failed = self.parts.wait_for_all()
            except InputError:
                self._summarize()  # of what is finished
                raise
        self._conclude()

    def _settings(self) -> dict[str, Any]:
        """All that results depend on, except the images and what `RECORDED_VERSIONS` names."""
        return {
            **self.options.facts,
            'noise_mm': noise_mm.__version__,
            'mpp': self.um_per_px,
            'tile_px': self.tiles.tile_px,
            'stride_px': self.tiles.stride_px,
            'skip_background': self.tiles.skip_background,
            'formats': sorted(self.formats),
            **asdict(self.options.well),
        }

    def _predict(self) -> None:
        """This process's pieces, then the wells that it has to put together from the pieces of all."""
        planned = self._plan_of_first() if self.ranks.rank else self._plan()
        pieces = share_out([grid for _, grid in planned], self.ranks.count)
        for piece in pieces:
            if piece.rank == self.ranks.rank:
                self._predict_piece(planned[piece.well][0], piece)
        for piece in pieces:
            if piece.rank == self.ranks.rank and piece.rows.start == 0 and not piece.is_whole:
                self._join_pieces(planned[piece.well][0])

    def _plan(self) -> list[tuple[Path, tuple[int, int]]]:
        """The images that are to be done, with the rows and columns of their tiles; other processes are told.

        Raises:
            InputError: If a run of other settings is to be resumed.
        """
        self._look_around()
        planned = self._planned([image for image in self.images if well_name(image) not in self.finished])
        if self.ranks.count > 1:
            if planned:
                self._write_run()  # before any record of these settings
            self.parts.publish([[well_name(image), *grid] for image, grid in planned])
        return planned

    def _plan_of_first(self) -> list[tuple[Path, tuple[int, int]]]:
        """The same, as the first process has it."""
        images = {well_name(image): image for image in self.images}
        return [(images[well], (rows, columns)) for well, rows, columns in self.parts.plan()]

    def _look_around(self) -> None:
        """Finds out what earlier runs have left in the folder.

        Raises:
            InputError: If a run of other settings is to be resumed.
        """
        before = self.out / 'run.json'
        told = differences(read_json(before).get('settings', {}), self.settings) if before.exists() else ''
        if told and self.options.resume:
            raise InputError(
                f'{self.out}: cannot be resumed, its settings are others ({told}). Use those, or another --out.'
            )
        if told:
            print(f'{self.out}: results of other settings ({told}) are replaced.')
        names = {well_name(image): image for image in self.images}
        for well, record in read_records(self.out).items():
            is_current = record['settings'] == self.settings
            if well not in names and is_current:
                self.finished[well] = record
            elif well not in names:
                self._clear(well)
            elif well in names and is_current and self.options.resume:
                if record['image'] == image_facts(names[well]):
                    self.finished[well] = record
                else:
                    print(f'{well}: the image has changed since; it is predicted again.')
        resumed = sum(well in names for well in self.finished)
        if self.options.resume:
            print(f'{resumed} of {len(names)} wells are finished.')

    def _planned(self, images: Sequence[Path]) -> list[tuple[Path, tuple[int, int]]]:
        """The images that can be opened, with the rows and columns of their tiles; the others are named at once."""
        planned = []
        for image in images:
            with self._naming(image), open_slide(image) as slide:
                um_per_px = self._um_per_px(slide, is_told=True)
                rows = TiledWell.of(slide, um_per_px, self.tiles).rows
                planned.append((image, (len(rows), len(rows[0]))))
        return planned

    def _predict_piece(self, image: Path, piece: Piece) -> None:
        well = well_name(image)
        detectors = [self.detector, *filter(None, [self.options.nucleus_finder])]
        with self._naming(image, is_mine=piece.is_whole, is_shared=not piece.is_whole), open_slide(image) as slide:
            self._require_room()
            um_per_px = self._um_per_px(slide)
            if piece.is_whole:
                finder = self.options.nucleus_finder
                result = predict_well(slide, self.detector, self.detector.classes, um_per_px, self.tiles, well, finder)
                self._write(slide, well, result, um_per_px)
            elif self.parts.failure(well) is None:
                tiled = TiledWell.of(slide, um_per_px, self.tiles)
                label = f'{well}, rows {piece.rows.start + 1} to {piece.rows.stop} of {len(tiled.rows)}'
                look_at(tiled, piece.rows, detectors, partial(self.parts.add_row, well), label)

    def _join_pieces(self, image: Path) -> None:
        """Puts a well together from what all processes have found in it."""
        well = well_name(image)
        with self._naming(image), open_slide(image) as slide:
            um_per_px = self._um_per_px(slide)
            tiled = TiledWell.of(slide, um_per_px, self.tiles)
            with_nuclei = self.options.nucleus_finder is not None
            collector = WellCollector(tiled, self.detector.classes, with_nuclei)
            for windows in tiled.rows:
                collector.add_row(self.parts.row(well, windows))
            self._write(slide, well, collector.close(), um_per_px)
        self.parts.forget(well)

    def _write(self, slide: Slide, well: str, result: WellResult, um_per_px: float) -> None:
        """Writes the files of a well, its record and the folder's summary."""
        self._clear(well)
        if self.ranks.count == 1 and not (self.finished and (self.out / 'run.json').exists()):
            self._write_run()
        content = write_well(self.out, well, slide, result, um_per_px, self.formats, self.options.well)
        record = {
            'well': well,
            'settings': self.settings,
            'image': image_facts(slide.path),
            'seams': _seams_as_json(result.seams),
            'tiles': result.tiles,
            'background_tiles': result.skipped,
            'result': content,
        }
        write_record(self.out, well, record)
        self.finished[well] = record
        _tell(record)
        if self.ranks.rank == 0:
            self._summarize()

    def _clear(self, well: str) -> None:
        """Deletes what an earlier run has left of a well, its record first."""
        path = record_path(self.out, well)
        if path.exists():
            files = read_json(path)['result']['files']
            path.unlink()
            for name in files.values():
                (self.out / name).unlink(missing_ok=True)

    def _summarize(self) -> list[str]:
        """Writes the tables and pages of the folder, and `run.json`; what the reader has to know."""
        if self.ranks.count > 1:  # others have finished wells, too
            records = read_records(self.out).items()
            self.finished = {well: record for well, record in records if record['settings'] == self.settings}
        contents = [self.finished[well]['result'] for well in sorted(self.finished)]
        notes = write_folder(self.out, contents, self.options.plate_map)
        self._write_run()
        return notes

    def _conclude(self) -> None:
        """The summary, and what has failed.

        Raises:
            InputError: If an image has failed.
        """
        has_summary = self.finished or self.ranks.count > 1 or (self.out / 'wells.csv').exists()
        notes = self._summarize() if has_summary else []
        self._tidy()
        for note in notes:
            print(f'note: {note}')
        if self.finished:
            count = sum(record['result']['row']['count'] for record in self.finished.values())
            print(f'{len(self.finished)} wells, {count} cells: see {self.out / "wells.csv"}')
        if len(self.images) == 1 and self.failed:
            raise InputError(self.failed[0])
        if self.failed:
            raise InputError(
                f'{len(self.failed)} of {len(self.images)} images failed, see above. Mend or leave them out.'
            )

    def _tidy(self) -> None:
        """Deletes what runs that were killed have left of files that they were writing."""
        wells = {*self.finished, *map(well_name, self.images)}
        names = {well + suffix for well in wells for suffix, _ in WRITERS.values()}
        remove_leftovers(self.out, names | set(FOLDER_FILES), self.began)
        records = [record_path(self.out, well) for well in wells]
        remove_leftovers(records[0].parent, records, self.began)
        shutil.rmtree(self.out / PARTS, ignore_errors=True)

    def _write_run(self) -> None:
        """Writes `run.json`."""
        wells = sorted(self.finished)
        content = {
            'noise_mm': noise_mm.__version__,
            'versions': {name: import_module(name).__version__ for name in RECORDED_VERSIONS},
            'arguments': self.arguments,
            'settings': self.settings,
            'processes': self.ranks.count,
            'seams': {well: self.finished[well]['seams'] for well in wells},
            'tiles': {well: self.finished[well]['tiles'] for well in wells},
            'background_tiles': {well: self.finished[well]['background_tiles'] for well in wells},
            'failed': self.failed,
        }
        write_json(self.out / 'run.json', content, indent=1)

    @contextmanager
    def _naming(self, image: Path, is_mine: bool = True, is_shared: bool = False) -> Iterator[None]:
        """Names an image that cannot be done, and goes on.

        Args:
            image: The image.
            is_mine: Whether this process is to tell.
            is_shared: Whether the process that puts the well together is to be told.
        """
        try:
            yield
        except NetworkError:
            raise
        except InputError as error:
            message = str(error)
        except OSError as error:
            message = f'{image}: {error.strerror or error} ({error.filename or self.out}). Check the disk.'
        else:
            return
        if is_shared:
            self.parts.fail(well_name(image), message)
        if is_mine:
            self._forget_if_stale(image)
            if len(self.images) > 1:
                print(f'failed: {message}', file=sys.stderr)
            self.failed.append(message)

    def _forget_if_stale(self, image: Path) -> None:
        """Deletes what an earlier run has left of an image that has failed now, unless it is of this very image."""
        well = well_name(image)
        path = record_path(self.out, well)
        if not path.exists():
            return
        record = read_json(path)
        with suppress(InputError):  # an image that is gone
            if record['settings'] == self.settings and record['image'] == image_facts(image):
                self.finished[well] = record
                return
        self._clear(well)

    def _require_room(self) -> None:
        if shutil.disk_usage(self.out).free < LEAST_FREE_BYTES:
            raise InputError(f'{self.out}: the disk is full. Make room or choose another output folder.')

    def _um_per_px(self, slide: Slide, is_told: bool = False) -> float:
        """The pixel size of an image: as given, as the file says, or the reference, which is told if asked for.

        Raises:
            InputError: If a pyramid doesn't state it, or the image is too small to be a well.
        """
        um_per_px = self.um_per_px or slide.um_per_px
        if um_per_px is None and slide.smaller_levels():
            raise InputError(
                f'{slide.path}: a slide of several resolutions that states no pixel size. Give it with --mpp.'
            )
        taken = um_per_px or REFERENCE_UM_PER_PX
        if min(slide.width_px, slide.height_px) * scale_to_reference(taken) < SMALLEST_WELL_PX:
            raise InputError(
                f'{slide.path}: {slide.width_px} x {slide.height_px} px is too small for a well. Export it again.'
            )
        if um_per_px is None and is_told:
            print(
                f'{well_name(slide.path)}: the file states no pixel size; taken as {REFERENCE_UM_PER_PX} um. '
                'Give --mpp if it is another.'
            )
        return taken


def _seams_as_json(seams: SeamReport) -> dict[str, Any]:
    return {'on_seam': seams.on_seam, 'joined': seams.joined, 'unresolved_at_px': [list(at) for at in seams.unresolved]}


def _tell(record: dict[str, Any]) -> None:
    """Prints what was found in a well, and a warning where cells may lack a part."""
    well, seams, content = record['well'], record['seams'], record['result']
    row, places = content['row'], seams['unresolved_at_px']
    report = SeamReport(seams['on_seam'], seams['joined'], tuple(map(tuple, places)))
    background = record['background_tiles']
    skipped = f'; {background} of {record["tiles"]} tiles are background' if background else ''
    print(f'{well}: {row["count"]} cells, {row["total_area_um2"]} um2; {report}{skipped}')
    for note in content['notes']:
        print(f'note: {well}: {note}')
    if places:
        named = ', '.join(f'({x}, {y})' for x, y in places[:MOST_PLACES])
        more = ', ...' if len(places) > MOST_PLACES else ''
        print(
            f'warning: {well}: {len(places)} cells were cut off by a tile and not found by its neighbours; '
            f'look at x, y = {named}{more} px (all in run.json).',
            file=sys.stderr,
        )
