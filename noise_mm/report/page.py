"""The page of a folder, `index.html`: plates, pictures, histograms and tables of its wells, in one file.

It needs no network and no other file, and its own Content-Security-Policy forbids both, but for the full-size overlays
beside it, which it shows if they are there. `index.html#well=B03` opens with that well. The skeleton, the style and the
script lie beside this module.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from noise_mm.report.conditions import MEASURES
from noise_mm.report.overlay import COLOURS
from noise_mm.report.page_material import BINS_PER_DECADE, MOST_NUCLEI
from noise_mm.report.plate_layout import plates_of

FILE_NAMES = {
    'overlay': 'overlay',
    'csv': 'cells',
    'nuclei': 'nuclei',
    'geojson': 'QuPath',
    'roi': 'ImageJ',
    'labels': 'labels',
    'coco': 'COCO',
}
"""What links to the files of a well are called."""

DRAWN_AS = {'count': 'osteoclast', 'pre_osteoclasts': 'pre-osteoclast', 'nuclei': 'nucleus'}
"""Measures that count what is drawn in the colour of a class."""


@dataclass(frozen=True)
class Conditions:
    """Conditions of the wells.

    Attributes:
        condition_of: The condition of each well that has one.
        table: Rows of `conditions.csv`.
        picture: The box plot as PNG, or None where no well has a condition.
    """

    condition_of: Mapping[str, str]
    table: Sequence[Mapping[str, Any]]
    picture: bytes | None


def folder_page(records: Sequence[Mapping[str, Any]], conditions: Conditions | None, notes: Sequence[str]) -> str:
    """The page as HTML.

    Args:
        records: Of `write_well`, in the order in which wells are shown.
        conditions: Conditions of the wells, with a plate map.
        notes: Sentences on the folder as a whole.
    """
    rows = [record['row'] for record in records]
    condition_of = {} if conditions is None else conditions.condition_of
    measures = [name for name in MEASURES if any(row[name] is not None for row in rows)]
    here = Path(__file__)
    return Template(here.with_name('page.html').read_text(encoding='utf-8')).substitute(
        title=escape(_title(rows)),
        style=here.with_name('page.css').read_text(encoding='utf-8'),
        script=here.with_name('page.js').read_text(encoding='utf-8'),
        summary=_summary(rows),
        notes=_notes(notes, records),
        measures=''.join(f'<option value="{name}">{escape(MEASURES[name])}</option>' for name in measures),
        wells=_wells(records, condition_of),
        conditions='' if conditions is None else _conditions(conditions, measures),
        table=_table(rows, measures, condition_of),
        data=_script_data(_data(records, condition_of, measures)),
    )


def _title(rows: Sequence[Mapping[str, Any]]) -> str:
    return f'{sum(row["count"] for row in rows):,} osteoclasts in {len(rows)} well{"" if len(rows) == 1 else "s"}'


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Numbers over all wells, as a list of terms."""
    count = sum(row['count'] for row in rows)
    area_um2 = sum(row['total_area_um2'] for row in rows)
    facts = {'wells': str(len(rows)), 'osteoclasts': f'{count:,}'}
    if any(row['pre_osteoclasts'] is not None for row in rows):
        facts['pre-osteoclasts'] = f'{sum(row["pre_osteoclasts"] or 0 for row in rows):,}'
    if count:
        facts['mean area of all'] = f'{area_um2 / count:,.0f} µm²'
    nuclei = sum(row['nuclei'] or 0 for row in rows)
    if nuclei:
        facts['nuclei'] = f'{nuclei:,}'
        facts['of them in osteoclasts'] = f'{sum(row["nuclei_in_osteoclasts"] or 0 for row in rows) / nuclei:.0%}'
    return ''.join(f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>' for name, value in facts.items())


def _notes(notes: Sequence[str], records: Sequence[Mapping[str, Any]]) -> str:
    """What the reader has to know: on the folder, and on single wells, each sentence once."""
    wells_of: dict[str, list[str]] = {}
    for record in records:
        for note in record['notes']:
            wells_of.setdefault(note, []).append(record['row']['well'])
    sentences = list(notes)
    for note, wells in wells_of.items():
        sentences.append(f'{"all wells" if 1 < len(wells) == len(records) else ", ".join(wells)}: {note}')
    return ''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)


def _wells(records: Sequence[Mapping[str, Any]], condition_of: Mapping[str, str]) -> str:
    """A card for each well: on their plates where names tell the places, else in a row."""
    cards = {record['row']['well']: _card(record, condition_of) for record in records}
    plates = plates_of(list(cards))
    if plates is None:
        return f'<div class="cards">{"".join(cards.values())}</div>'
    sections = []
    for plate in plates:
        heads = ''.join(f'<span class="head">{column + 1}</span>' for column in range(plate.columns))
        grid = f'<span></span>{heads}'
        for row in range(plate.rows):
            grid += f'<span class="head">{chr(ord("A") + row)}</span>'
            for column in range(plate.columns):
                well = plate.wells.get((row, column))
                grid += '<span class="empty"></span>' if well is None else cards[well]
        name = f'<h3>{escape(plate.name)}</h3>' if plate.name else ''
        sections.append(f'{name}<div class="plate" style="--columns:{plate.columns}">{grid}</div>')
    return ''.join(sections)


def _card(record: Mapping[str, Any], condition_of: Mapping[str, str]) -> str:
    """A well's picture with its name and a number, to be clicked."""
    well = escape(record['row']['well'])
    condition = escape(condition_of.get(record['row']['well'], ''))
    return (
        f'<a class="well" href="#well={quote(record["row"]["well"])}" data-well="{well}" title="{well} {condition}">'
        f'<img alt="" src="{escape(record["picture"])}">'
        f'<span class="label"><b>{well}</b><span class="value"></span></span></a>'
    )


def _conditions(conditions: Conditions, measures: Sequence[str]) -> str:
    """Means and deviations by condition, and the box plot."""
    head = ''.join(f'<th>{escape(MEASURES[name])}</th>' for name in measures)
    body = ''
    for row in conditions.table:
        values = ''.join(f'<td>{_mean_and_deviation(row, name)}</td>' for name in measures)
        body += f'<tr><th>{escape(row["condition"])}</th><td>{row["wells"]}</td>{values}</tr>'
    picture = ''
    if conditions.picture is not None:
        data = base64.b64encode(conditions.picture).decode('ascii')
        picture = f'<img class="plot" alt="Box plots by condition" src="data:image/png;base64,{data}">'
    return (
        '<section><h2>Conditions</h2><p>Mean ± standard deviation of the wells (n − 1).</p><div class="scroll"><table>'
        f'<thead><tr><th>condition</th><th>wells</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f'{picture}</section>'
    )


def _mean_and_deviation(row: Mapping[str, Any], measure: str) -> str:
    mean, deviation = row[f'{measure}_mean'], row[f'{measure}_sd']
    if mean is None:
        return ''
    return _shown(mean) if deviation is None else f'{_shown(mean)} ± {_shown(deviation)}'


def _table(rows: Sequence[Mapping[str, Any]], measures: Sequence[str], condition_of: Mapping[str, str]) -> str:
    """The table of wells; a click on a head sorts by it."""
    names = ['well', *(['condition'] if condition_of else []), *(MEASURES[name] for name in measures)]
    head = ''.join(f'<th><button type="button">{escape(name)}</button></th>' for name in names)
    body = ''
    for row in rows:
        well = escape(row['well'])
        texts = f'<th data-sort="{well}"><a href="#well={quote(row["well"])}">{well}</a></th>'
        if condition_of:
            condition = escape(condition_of.get(row['well'], ''))
            texts += f'<td class="text" data-sort="{condition}">{condition}</td>'
        for name in measures:
            value = row[name]
            texts += f'<td data-sort="{"" if value is None else value}">{"" if value is None else _shown(value)}</td>'
        body += f'<tr>{texts}</tr>'
    return f'<table id="wells"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _shown(value: float) -> str:
    """A number with as many digits as a reader wants."""
    return f'{value:,.0f}' if isinstance(value, int) or abs(value) >= 1000 else f'{value:.3g}'


def _data(
    records: Sequence[Mapping[str, Any]], condition_of: Mapping[str, str], measures: Sequence[str]
) -> dict[str, Any]:
    """What the script needs to know."""
    wells = {
        record['row']['well']: {
            'values': {name: record['row'][name] for name in measures},
            'condition': condition_of.get(record['row']['well'], ''),
            'files': [
                [FILE_NAMES[name], quote(record['files'][name])] for name in FILE_NAMES if name in record['files']
            ],
            'overlay': quote(record['files'].get('overlay', '')),
            'notes': record['notes'],
            **record['histograms'],
        }
        for record in records
    }
    return {
        'measures': {name: MEASURES[name] for name in measures},
        'binsPerDecade': BINS_PER_DECADE,
        'mostNuclei': MOST_NUCLEI,
        'colours': {name: f'rgb{colour}' for name, colour in COLOURS.items()},
        'drawnAs': {measure: f'rgb{COLOURS[name]}' for measure, name in DRAWN_AS.items()},
        'wells': wells,
    }


def _script_data(value: Any) -> str:
    """JSON that can stand in a script element: there, `</script>` and `<!--` would end it or change its meaning."""
    return json.dumps(value, ensure_ascii=False).replace('<', '\\u003c')
