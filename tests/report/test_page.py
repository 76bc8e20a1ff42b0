"""The page as text; `test_page_in_browser` looks at what a browser makes of it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from noise_mm.report.conditions import Design, condition_rows
from noise_mm.report.folder import SummaryOptions, folder_content
from noise_mm.report.page import folder_page


def page_of(records, notes=(), design=None):
    content = folder_content(records, SummaryOptions())
    table = condition_rows(content.wells, design) if design else []
    return folder_page(replace(content, design=design, conditions=table, notes=notes))


ODD = '<b>"A&1\'</script>'


class Reader(HTMLParser):
    """Collects elements, and the text in them by name."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self._open = [], {}, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ('meta', 'img', 'input', 'br'):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag  # all are closed, in turn

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_nothing_from_outside(record):
    page = page_of([record('A1', 5), record('A2', 7)])
    reader = Reader(page)
    assert [name for name, _ in reader.elements if name in ('link', 'iframe', 'object', 'base')] == []
    assert not any(attributes.get('src') for attributes in reader.named('script'))
    assert {attributes.get('src', 'data:')[:5] for attributes in reader.named('img')} == {'data:'}
    assert not re.search(r'url\(|@import|fetch\(|XMLHttpRequest', page)
    links = re.findall(r'https?://[^\s\'"]+', page)
    assert set(links) <= {'http://www.w3.org/2000/svg'}  # a name, which is not looked up
    (policy,) = [item['content'] for item in reader.named('meta') if item.get('http-equiv')]
    assert policy.startswith("default-src 'none'")


def test_names_are_escaped(record):
    records = [record(ODD, 5, notes=[ODD], files={'csv': f'{ODD}_cells.csv', 'overlay': f'{ODD}.png'})]
    page = page_of(records, [ODD], Design({ODD: ODD}, {ODD: ODD}, ODD, ODD))
    reader = Reader(page)
    assert ODD not in page and '<b>"' not in page
    assert list(data_of(page)['images']) == [ODD]
    assert data_of(page)['images'][ODD]['condition'] == ODD
    assert [card['data-well'] for card in reader.named('a') if card.get('class') == 'well'] == [ODD]
    assert ODD in reader.texts['li']


def test_only_columns_with_values_are_shown(record):
    page = page_of([record('A1', 5), record('A2', 0, nuclei=9, fusion_index=0.5)])
    assert list(data_of(page)['measures']) == [
        'count',
        'total_area_um2',
        'mean_area_um2',
        'covered_of_image_percent',
        'nuclei',
        'fusion_index',
    ]
    cells = [attributes['data-sort'] for attributes in Reader(page).named('td')]
    assert cells == ['5', '3000.0', '600.0', '2.5', '', '', '0', '0.0', '', '0.0', '9', '0.5']


def test_wells_lie_on_their_plate(record):
    page = page_of([record('A1'), record('C4')])
    assert page.count('class="empty"') == 3 * 4 - 2
    assert '--columns:4' in page
    assert 'class="cards"' not in page
    assert 'class="cards"' in page_of([record('A1'), record('other')])


def test_several_plates_have_their_names(record):
    page = page_of([record('p_A1'), record('q_A1')])
    assert [text for text in Reader(page).texts['h3']] == ['p', 'q']


def test_summary(record):
    records = [record('A1', 1500, pre_osteoclasts=2, nuclei=100, nuclei_in_osteoclasts=25), record('A2', 500)]
    reader = Reader(page_of(records))
    assert reader.texts['title'] == ['2,000 osteoclasts in 2 wells']
    assert dict(zip(reader.texts['dt'], reader.texts['dd'], strict=True)) == {
        'wells': '2',
        'osteoclasts': '2,000',
        'pre-osteoclasts': '2',
        'mean area of all': '600 µm²',
        'nuclei': '100',
        'of them in osteoclasts': '25%',
        'pixel size': '0.7784 µm/px (stated by the files)',
    }


def test_notes_are_gathered(record):
    records = [record('A1', notes=['odd']), record('A2', notes=['odd', 'dark']), record('A3', notes=['odd'])]
    assert Reader(page_of(records, ['map'])).texts['li'] == ['map', 'all wells: odd', 'A2: dark']


@pytest.mark.parametrize('count', [0, 1])
def test_empty_and_single(record, count):
    page = page_of([record('w', 0)][:count])
    assert Reader(page).texts['title'] == [f'0 osteoclasts in {count} well{"s" if count == 0 else ""}']


def test_an_assumed_pixel_size_never_looks_known(record):
    unknown = dict(total_area_um2=None, mean_area_um2=None, um_per_px_from='assumed')
    page = page_of([record('A1', 5, **unknown)])
    assert 'class="alarm"' in page and 'ASSUMED' in page
    assert data_of(page)['images']['A1']['mpp'] is None
    assert 'total_area_px2' in data_of(page)['measures']
    assert 'class="alarm"' not in page_of([record('A1', 5, um_per_px_from='accepted')])


def test_the_worst_cells_of_each_image_come_first(record):
    records = [record('A1', 5), record('B1', 5)]
    records[0]['crops'] = [records[0]['crops'][0] | {'name': name} for name in ('worst', 'second')]
    looks = data_of(page_of(records))['looks']
    assert [(look['image'], look['name']) for look in looks] == [
        ('A1', 'worst'),
        ('B1', 'osteoclast_0001'),
        ('A1', 'second'),
    ]
