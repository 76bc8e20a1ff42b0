"""The page of a folder, `index.html`: plates, pictures, doubtful cells, comparison and table of its wells, in one file.

It needs no network and no other file, and its own Content-Security-Policy forbids both, but for the full-size overlays
and tables beside it. `index.html#well=B03` opens with that image. Templates, style and scripts lie in `templates`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from noise_mm.report.conditions import MEASURES, TESTS, Design, shown_measures
from noise_mm.report.overlay import COLOURS, class_colours
from noise_mm.report.page_material import BINS_PER_DECADE, MOST_NUCLEI, SUBPIXELS
from noise_mm.report.plate_layout import plates_of
from noise_mm.report.well_names import WellName, row_name

TEMPLATES = Path(__file__).with_name('templates')
FILE_NAMES = {
    'overlay': 'overlay',
    'csv': 'cells',
    'nuclei': 'nuclei',
    'geojson': 'QuPath',
    'roi': 'ImageJ',
    'nuclei_roi': 'ImageJ nuclei',
    'labels': 'labels',
    'coco': 'COCO',
}
"""What links to the files of an image are called."""

DRAWN_AS = {'count': 'osteoclast', 'pre_osteoclasts': 'pre-osteoclast', 'nuclei': 'nucleus'}
"""Measures that count what is drawn in the colour of a class."""

MOST_LOOKS = 150
"""Crops on a page, about 12 kB each."""

REVIEW_FORMAT = 'noise_mm review 1'


@dataclass(frozen=True)
class FolderContent:
    """The results of a folder, which its tables and its page show.

    Attributes:
        records: Of `write_well`, one for each image.
        names: What the names of the images say, in the same order.
        images: Rows of the table of images, in the same order.
        wells: Rows of the table of wells, with the columns of the plate map.
        design: Conditions and replicates, with a plate map.
        conditions: Rows of `conditions.csv`.
        notes: Sentences on the folder as a whole.
        about: How the results were made: model, thresholds, ...
    """

    records: Sequence[Mapping[str, Any]]
    names: Sequence[WellName]
    images: Sequence[Mapping[str, Any]]
    wells: Sequence[Mapping[str, Any]]
    design: Design | None = None
    conditions: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    about: Mapping[str, str] = field(default_factory=dict)


def folder_page(content: FolderContent, tables: Sequence[str] = ()) -> str:
    """Return the page as HTML.

    Args:
        content: What it shows.
        tables: Names of the tables beside the page.
    """
    measures = shown_measures(content.wells)
    condition_of = {} if content.design is None else dict(content.design.condition_of)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {'shown': _shown, 'quoted': quote, 'row_name': row_name}
    names, cards, rows = list(content.names), {}, {row['well']: row for row in content.wells}
    for name, record in zip(names, content.records, strict=True):
        card = {'well': name.well, 'image': name.image, 'record': record, 'row': rows[name.well]}
        cards.setdefault(name.well, card)
    return environment.get_template('index.html.j2').render(
        title=_title(content.wells),
        style=(TEMPLATES / 'page.css').read_text(encoding='utf-8'),
        scripts=[(TEMPLATES / name).read_text(encoding='utf-8') for name in ('plots.js', 'review.js', 'page.js')],
        summary=_summary(content.wells),
        about=_about(content),
        has_flags=any(row.get('quality_flags') for row in content.wells),
        has_assumed_size=any(row['um_per_px_from'] == 'assumed' for row in content.wells),
        notes=_notes(content.notes, content.records),
        labels=MEASURES,
        measures=measures,
        cards=cards,
        plates=plates_of(names),
        subpixels=SUBPIXELS,
        colours={label: f'rgb{colour}' for label, colour in _colours(content).items()},
        wells=content.wells,
        condition_of=condition_of,
        conditions=content.conditions,
        design=content.design,
        tables=tables,
        data=_script_data(_data(content, measures, condition_of)),
    )


def _colours(content: FolderContent) -> dict[str, tuple[int, int, int]]:
    return class_colours(cell['label'] for record in content.records for cell in record['cells'])


def _title(rows: Sequence[Mapping[str, Any]]) -> str:
    return f'{sum(row["count"] for row in rows):,} osteoclasts in {len(rows)} well{"" if len(rows) == 1 else "s"}'


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return numbers over all wells."""
    count = sum(row['count'] for row in rows)
    areas_um2 = [row['total_area_um2'] for row in rows]
    numbers = {'wells': str(len(rows)), 'osteoclasts': f'{count:,}'}
    if any(row['pre_osteoclasts'] is not None for row in rows):
        numbers['pre-osteoclasts'] = f'{sum(row["pre_osteoclasts"] or 0 for row in rows):,}'
    if count and None not in areas_um2:
        numbers['mean area of all'] = f'{sum(areas_um2) / count:,.0f} µm²'
    nuclei = sum(row['nuclei'] or 0 for row in rows)
    if nuclei:
        numbers['nuclei'] = f'{nuclei:,}'
        numbers['of them in osteoclasts'] = f'{sum(row["nuclei_in_osteoclasts"] or 0 for row in rows) / nuclei:.0%}'
    return numbers


def _about(content: FolderContent) -> dict[str, str]:
    """Return how the results were made, with the pixel sizes and where they are from."""
    sizes = dict.fromkeys(
        f'{record["row"]["um_per_px"]:g} µm/px ({SOURCES[record["row"]["um_per_px_from"]]})'
        for record in content.records
    )
    return {**content.about, 'pixel size': '; '.join(sizes)} if sizes else dict(content.about)


SOURCES = {
    'option': 'given with --mpp',
    'file': 'stated by the files',
    'assumed': 'ASSUMED, stated nowhere',
    'accepted': 'assumed and accepted with --assume-mpp',
}
"""Where a pixel size is from, in words."""


def _notes(notes: Sequence[str], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the reader has to know: on the folder, and on single images, each sentence once."""
    images_of: dict[str, list[str]] = {}
    for record in records:
        for note in record['notes']:
            images_of.setdefault(note, []).append(record['row']['well'])
    sentences = list(notes)
    for note, images in images_of.items():
        sentences.append(f'{"all wells" if 1 < len(images) == len(records) else ", ".join(images)}: {note}')
    return sentences


def _shown(value: float | None) -> str:
    """Return a number with as many digits as a reader wants."""
    if value is None:
        return ''
    return f'{value:,.0f}' if isinstance(value, int) or abs(value) >= 1000 else f'{value:.3g}'


def _data(content: FolderContent, measures: Sequence[str], condition_of: Mapping[str, str]) -> dict[str, Any]:
    """Return what the scripts need to know."""
    rows = {row['well']: row for row in content.wells}
    images: dict[str, dict[str, Any]] = {}
    has_card: set[str] = set()  # whose pictures stand in the page already
    for record, name, own in zip(content.records, content.names, content.images, strict=True):
        row, flags = rows[name.well], own.get('quality_flags')
        images[name.image] = {
            'well': name.well,
            'field': name.field,
            'values': {measure: row[measure] for measure in measures},
            'condition': condition_of.get(name.well, ''),
            'files': [
                [FILE_NAMES[kind], quote(record['files'][kind])] for kind in FILE_NAMES if kind in record['files']
            ],
            'overlay': quote(record['files'].get('overlay', '')),
            'notes': [f'image quality: {flags}'] * bool(flags) + record['notes'],
            'size': record['size_px'],
            'pictureSize': record['picture_px'],
            'mpp': None if row['um_per_px_from'] == 'assumed' else row['um_per_px'],
            'cells': [{key: value for key, value in cell.items() if key != 'label'} for cell in record['cells']],
            'labels': [cell['label'] for cell in record['cells']],
            'leftOut': record['outlines_left_out'],
            **record['histograms'],
        }
        if name.well in has_card:
            images[name.image]['picture'] = record['picture']
        has_card.add(name.well)
    return {
        'measures': {name: MEASURES[name] for name in measures},
        'binsPerDecade': BINS_PER_DECADE,
        'mostNuclei': MOST_NUCLEI,
        'subpixels': SUBPIXELS,
        'colours': {name: f'rgb{colour}' for name, colour in (COLOURS | _colours(content)).items()},
        'drawnAs': {measure: f'rgb{COLOURS[name]}' for measure, name in DRAWN_AS.items()},
        'images': images,
        'looks': _looks(content),
        'plots': _plots(content, measures),
        'reviewFormat': REVIEW_FORMAT,
    }


def _looks(content: FolderContent) -> list[dict[str, Any]]:
    """Return the cells to check first: the first of each image, then the second of each, up to `MOST_LOOKS`."""
    queues = [
        [{'image': name.image, **crop} for crop in record['crops']]
        for record, name in zip(content.records, content.names, strict=True)
    ]
    longest = max(map(len, queues), default=0)
    return [queue[i] for i in range(longest) for queue in queues if i < len(queue)][:MOST_LOOKS]


def _plots(content: FolderContent, measures: Sequence[str]) -> list[dict[str, Any]]:
    """Return the values of each measure by condition and unit."""
    design = content.design
    if design is None or not content.conditions:
        return []
    plots = []
    for measure in measures:
        groups = [
            {
                'name': row['condition'],
                'mean': row[f'{measure}_mean'],
                'sd': row[f'{measure}_sd'],
                'p': row[f'{measure}_p_holm'],
                'points': list(design.units(content.wells, row['condition'], measure).items()),
            }
            for row in content.conditions
        ]
        plots.append({'title': MEASURES[measure], 'groups': groups, 'test': TESTS[design.test]})
    return plots


def _script_data(value: Any) -> str:
    """Return JSON that can stand in a script element: there, `</script>` and `<!--` would end it."""
    return json.dumps(value, ensure_ascii=False).replace('<', '\\u003c')
