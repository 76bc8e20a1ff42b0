"""A folder of results: what earlier runs left in it, the records of its wells, its summary, and `run.json`.

Several processes may write to one folder. Each writes the files of its own wells; the files about all wells are made
from the records of all wells, under a lock.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from filelock import FileLock

import noise_mm
from noise_mm.distributed import Ranks
from noise_mm.errors import InputError
from noise_mm.files import FileInUseError, read_json, remove_leftovers, write_json
from noise_mm.inference.records import differences, image_metadata, read_records, record_path, write_record
from noise_mm.report.folder import SummaryOptions, write_folder
from noise_mm.report.output_files import FOLDER_FILES, well_files

# What results depend on besides this package; `mmcv` is the module of mmcv-lite and of the full mmcv.
RECORDED_VERSIONS = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmyolo')
LOCK = '.summary.lock'


@dataclass(eq=False)
class ResultsFolder:
    """The results of one run.

    Attributes:
        path: The folder.
        settings: Everything that results depend on, except images and versions of other packages.
        arguments: Recorded in `run.json`.
        images: All images of the run, by well.
        mine: The wells of this process.
        ranks: The processes of the run.
        summary: How the wells are summed up.
        finished: Records of wells with these settings, by well.
        failed: What was wrong with each image that failed, by well.
        in_use: Files of the summary that another program holds open, as a message.
    """

    path: Path
    settings: Mapping[str, Any]
    arguments: Mapping[str, Any]
    images: Mapping[str, Path]
    mine: Sequence[str]
    ranks: Ranks = field(default_factory=Ranks)
    summary: SummaryOptions = field(default_factory=SummaryOptions)
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    in_use: str = ''
    _is_described: bool = False

    def open(self, resume: bool) -> list[str]:
        """Find out what earlier runs left, delete results of other settings, and return the wells to be predicted.

        Results of wells that are predicted again stay until they are replaced.

        Raises:
            InputError: If a run with other settings is to be resumed.
        """
        run_file = self.path / 'run.json'
        changes = differences(read_json(run_file).get('settings', {}), self.settings) if run_file.exists() else ''
        if changes and resume:
            raise InputError(
                f'{self.path}: cannot be resumed, its settings differ ({changes}). Use the same, or another --out.'
            )
        if changes and self.ranks.rank == 0:
            print(f'{self.path}: results with other settings ({changes}) are replaced.')
        for well, record in read_records(self.path).items():
            is_current = record['settings'] == self.settings
            if well in self.images:
                if well in self.mine and is_current and resume and self._is_of_this_image(well, record):
                    self.finished[well] = record
            elif is_current:
                self.finished[well] = record
            elif self.ranks.rank == 0:
                self.clear(well)
        pending = [well for well in self.mine if well not in self.finished]
        if resume:
            print(f'{len(self.mine) - len(pending)} of {len(self.mine)} wells are finished.')
        return pending

    def _is_of_this_image(self, well: str, record: Mapping[str, Any]) -> bool:
        is_same = record['image'] == image_metadata(self.images[well])
        if not is_same:
            print(f'{well}: the image has changed since the last run; it is predicted again.')
        return is_same

    def begin_well(self, well: str) -> None:
        """Delete earlier results of a well before its files are written; describe the run before the first of them."""
        self.clear(well)
        if not self._is_described:
            with self._lock():
                self._write_run()
            self._is_described = True

    def finish_well(self, well: str, record: Mapping[str, Any]) -> None:
        """Write the record of a well whose files are complete, and the summary."""
        record = {
            'well': well,
            'settings': self.settings,
            'image': image_metadata(self.images[well]),
            **record,
        }
        write_record(self.path, well, record)
        self.finished[well] = record
        self.failed.pop(well, None)
        self.summarize()

    def fail_well(self, well: str, message: str) -> None:
        """Note that an image failed; earlier results stay only if they are of this very image and these settings."""
        self.failed[well] = message
        path = record_path(self.path, well)
        if not path.exists():
            return
        record = read_json(path)
        with suppress(InputError):  # the image is gone
            if record['settings'] == self.settings and record['image'] == image_metadata(self.images[well]):
                self.finished[well] = record
                return
        self.clear(well)

    def clear(self, well: str) -> None:
        """Delete what an earlier run left of a well, its record first."""
        path = record_path(self.path, well)
        if path.exists():
            files = read_json(path)['result']['files']
            path.unlink()
            for name in files.values():
                with suppress(PermissionError):  # open in another program; writing it again names it
                    (self.path / name).unlink(missing_ok=True)

    def summarize(self, is_complete: bool = False) -> list[str]:
        """Write the tables and the page of the folder, and `run.json`; return notes for the reader.

        Files that another program holds open are named in `in_use`; the others are written.

        Args:
            is_complete: Whether no further well of this process is to come.
        """
        with self._lock():
            if self.ranks.count > 1:
                records = read_records(self.path).items()
                self.finished = {well: record for well, record in records if record['settings'] == self.settings}
            contents = [self.finished[well]['result'] for well in sorted(self.finished)]
            was_in_use, self.in_use = self.in_use, ''
            notes: list[str] = []
            try:
                notes = write_folder(self.path, contents, self.summary, is_complete)
            except FileInUseError as error:
                self.in_use = str(error)
                if not was_in_use:
                    print(f'warning: {error}', file=sys.stderr)
            self._write_run()
        return notes

    def tidy(self, began: float) -> None:
        """Delete temporary files of killed runs, last written before the time `began`."""
        wells = {*self.finished, *self.images} if self.ranks.count == 1 else set(self.mine)
        names = well_files(wells) | (set(FOLDER_FILES) if self.ranks.rank == 0 else set())
        with self._lock():
            remove_leftovers(self.path, names, began)
            records = [record_path(self.path, well) for well in wells]
            for folder in {record.parent for record in records}:
                remove_leftovers(folder, records, began)

    def unfinished(self) -> list[str]:
        """Return the wells of the run that have neither a result nor an error yet."""
        return [well for well in self.images if well not in self.finished and well not in self._all_failed()]

    def _all_failed(self) -> dict[str, str]:
        """Return the errors of this process, and those that other processes recorded."""
        recorded: dict[str, str] = {}
        if self.ranks.count > 1 and (self.path / 'run.json').exists():
            run = read_json(self.path / 'run.json')
            if run.get('settings') == self.settings:
                recorded = {well: text for well, text in run['failed'].items() if well in self.images}
        others = {well: text for well, text in recorded.items() if well not in self.mine}
        return dict(sorted((others | self.failed).items()))

    def _write_run(self) -> None:
        wells = sorted(self.finished)
        content = {
            'noise_mm': noise_mm.__version__,
            'versions': {name: import_module(name).__version__ for name in RECORDED_VERSIONS},
            'arguments': self.arguments,
            'about': self.summary.about,
            'settings': self.settings,
            'processes': self.ranks.count,
            'seams': {well: self.finished[well]['seams'] for well in wells},
            'tiles': {well: self.finished[well]['tiles'] for well in wells},
            'background_tiles': {well: self.finished[well]['background_tiles'] for well in wells},
            'failed': self._all_failed(),
        }
        write_json(self.path / 'run.json', content, indent=1)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other processes from writing the files about all wells meanwhile."""
        if self.ranks.count == 1:
            yield
        else:
            with FileLock(self.path / LOCK):
                yield
