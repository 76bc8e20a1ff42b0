"""Decisions on single cells, saved by the page of a folder -> corrected results and annotations for training."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from noise_mm.errors import InputError
from noise_mm.files import read_json, sha256_of
from noise_mm.formats.geojson import write_geojson
from noise_mm.formats.read import read_outlines
from noise_mm.geometry.outline import Outline
from noise_mm.inference.records import read_records
from noise_mm.inference.results_folder import ResultsFolder
from noise_mm.measure.cells import PRE_OSTEOCLAST
from noise_mm.measure.found import Found
from noise_mm.measure.nuclei import Nuclei
from noise_mm.report.folder import SummaryOptions
from noise_mm.report.options import WellOptions
from noise_mm.report.output_files import WELL_SUFFIXES, check_output_folder
from noise_mm.report.page import REVIEW_FORMAT
from noise_mm.report.plate_map import read_plate_map
from noise_mm.report.well import write_well
from noise_mm.report.well_names import compile_pattern
from noise_mm.scale import PixelSize
from noise_mm.slides.slide import open_slide

CORRECTED = 'corrected'
MARKS = ('cut_at_box', 'joined', 'unvoted')
HASH_LETTERS = 16

Decisions = Mapping[str, Mapping[str, frozenset[str]]]
"""For each image the names of its cells that were `accepted` and `rejected`."""


def apply_review(results: Path, review: Path, out: Path, wells: Path | None = None) -> list[str]:
    """Write results without the rejected cells to a new folder; the old ones stay as they are.

    All files of `results` are made again with the same options, cells are numbered anew, and `corrected/` holds a
    GeoJSON file with the osteoclasts of each image that was reviewed, which `data_prep/extract_patches.py` reads.

    Args:
        results: Folder of `tools/predict.py`, with COCO files.
        review: `review.json` as the page saved it.
        out: Folder for the corrected results.
        wells: Folder of the well images; by default where they were predicted.

    Returns:
        A sentence on each reviewed image.

    Raises:
        InputError: If a file is missing or damaged, or the review is of other results.
    """
    records, run = read_records(results), read_json(results / 'run.json')
    decisions = read_review(review, records)
    images = {well: _image_of(record, wells) for well, record in records.items()}
    if out.resolve() == results.resolve():
        raise InputError(f'--out {out}: holds the results that are reviewed. Give another folder.')
    check_output_folder(out, list(images.values()))
    settings = run['settings'] | {'review': sha256_of(review)[:HASH_LETTERS]}
    arguments = run['arguments'] | {'review': str(review), 'reviewed': str(results)}
    folder = ResultsFolder(out, settings, arguments, images, list(images), summary=_summary_options(run))
    folder.open(resume=False)
    report = []
    for well, record in records.items():
        report += _correct(well, record, results, folder, decisions.get(well, {}), settings)
    folder.summarize(is_complete=True)
    return report


def read_review(path: Path, records: Mapping[str, Mapping[str, Any]]) -> Decisions:
    """Return the decisions in a file.

    Raises:
        InputError: If it is no review, or names images that are not in the results.
    """
    review = read_json(path)
    if not isinstance(review, dict) or review.get('format') != REVIEW_FORMAT or not isinstance(review['images'], dict):
        raise InputError(f'{path}: not a review. Save it with the button "Save decisions" of index.html.')
    decisions: dict[str, dict[str, frozenset[str]]] = {}
    for image, lists in review['images'].items():
        if image not in records:
            raise InputError(f'{path}: decides on {image}, which is not in these results. Give the folder of its page.')
        if not isinstance(lists, dict) or not all(isinstance(names, list) for names in lists.values()):
            raise InputError(f'{path}: the decisions on {image} are damaged. Save the review again.')
        decisions[image] = {kind: frozenset(map(str, lists.get(kind, ()))) for kind in ('accepted', 'rejected')}
    return decisions


def _correct(
    well: str,
    record: Mapping[str, Any],
    results: Path,
    folder: ResultsFolder,
    decisions: Mapping[str, frozenset[str]],
    settings: Mapping[str, Any],
) -> list[str]:
    """Write the files of one image without its rejected cells; return a sentence if it was reviewed."""
    options = WellOptions(**{name: settings[name] for name in WellOptions.__dataclass_fields__})
    row = record['result']['row']
    with open_slide(folder.images[well], settings.get('scene')) as slide:
        size_px = (slide.width_px, slide.height_px)
        found = _found(well, results, size_px, record, options)
        rejected, accepted = (decisions.get(kind, frozenset()) for kind in ('rejected', 'accepted'))
        if unknown := (rejected | accepted) - {outline.name for outline in found.outlines}:
            raise InputError(
                f'{well}: the review decides on {sorted(unknown)[0]}, which is not there. Review it again.'
            )
        kept = [outline for outline in found.outlines if outline.name not in rejected]
        kept = [_renamed(outline, number, options) for number, outline in enumerate(kept, 1)]
        folder.begin_well(well)
        pixel = PixelSize(row['um_per_px'], row['um_per_px_from'])
        formats = [name for name in WELL_SUFFIXES if name in record['result']['files']]
        content = write_well(folder.path, well, slide, Found(kept, found.nuclei), pixel, formats, options)
    content['row'] |= {name: row[name] for name in row if name.startswith('cells_')}
    sentence = f'{well}: {len(rejected)} cells rejected and {len(accepted)} accepted in the review'
    if decisions:
        content['notes'].append(sentence.partition(': ')[2])
        osteoclasts = [outline for outline in kept if outline.label != PRE_OSTEOCLAST]
        write_geojson(folder.path / CORRECTED / f'{well}.geojson', osteoclasts)
    kept_entries = {name: record[name] for name in ('path', 'seams', 'tiles', 'background_tiles')}
    folder.finish_well(well, {**kept_entries, 'result': content})
    return [sentence] if decisions else []


def _found(
    well: str, results: Path, size_px: tuple[int, int], record: Mapping[str, Any], options: WellOptions
) -> Found:
    """Read the cells and nuclei of an image from its files."""
    files = record['result']['files']
    if 'coco' not in files:
        raise InputError(f'{results}: holds no COCO file of {well}. Predict again with coco among --formats.')
    outlines = read_outlines(results / files['coco'], size_px)
    if 'csv' in files:
        rows = _rows(results / files['csv'])
        marks = {row['name']: frozenset(mark for mark in MARKS if row.get(mark) == '1') for row in rows}
        outlines = [replace(outline, marks=marks.get(outline.name, frozenset())) for outline in outlines]
    if 'nuclei' not in files:
        if options.min_nuclei is not None:
            raise InputError(f'{results}: holds no table of the nuclei of {well}. Predict again with csv in --formats.')
        return Found(outlines)
    values = np.array([[row['x_px'], row['y_px'], row['score']] for row in _rows(results / files['nuclei'])], float)
    values = values.reshape(-1, 3)
    return Found(outlines, Nuclei(values[:, :2], values[:, 2]))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding='utf-8', newline='') as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error}). Predict again.') from error


def _renamed(outline: Outline, number: int, options: WellOptions) -> Outline:
    """Return an outline with its new number; pre-osteoclasts are classed again by their nuclei."""
    label = 'osteoclast' if options.min_nuclei is not None and outline.label == PRE_OSTEOCLAST else outline.label
    return replace(outline, name=f'{label}_{number:04d}', label=label)


def _image_of(record: Mapping[str, Any], wells: Path | None) -> Path:
    """Return the image of a record."""
    image = Path(record['path']) if wells is None else wells / Path(record['path']).name
    if not image.is_file():
        raise InputError(f'{image}: no such image. Say with --wells in which folder the well images lie.')
    return image


def _summary_options(run: Mapping[str, Any]) -> SummaryOptions:
    """Return how the run summed up its wells."""
    given = {name: value for name, value in run['arguments'].items() if value not in (None, 'None')}
    plate_map = read_plate_map(given['plate_map']) if 'plate_map' in given else None
    pattern = compile_pattern(given['name_pattern']) if 'name_pattern' in given else None
    return SummaryOptions(plate_map, pattern, given.get('test', 'welch'), run.get('about', {}) | {'reviewed': 'yes'})
