"""The page of a folder in a real browser, without network and from a file."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from noise_mm.patches.png_writer import png_bytes
from noise_mm.report.folder import SummaryOptions, write_folder
from noise_mm.report.page import REVIEW_FORMAT
from noise_mm.report.plate_map import read_plate_map

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
OPTIONS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync']
OPTIONS += ['--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage']
OPTIONS += ['--remote-debugging-pipe']

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='Chromium is not installed')


class Browser:
    """Chromium, spoken to in its DevTools protocol through pipes: JSON messages that end with a zero byte.

    Attributes:
        events: All events of the page so far.
    """

    def __init__(self, profile: Path):
        read, self._out = os.pipe()
        self._in, write = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
        command = [CHROMIUM, *OPTIONS, f'--user-data-dir={profile}', 'about:blank']
        self.process = subprocess.Popen(
            ['bash', '-c', f'exec "$@" 3<&{read} 4>&{write}', 'bash', *command],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._rest, self._number, self.events, self._session = b'', 0, [], None
        target = next(t for t in self.send('Target.getTargets')['targetInfos'] if t['type'] == 'page')
        self._session = self.send('Target.attachToTarget', targetId=target['targetId'], flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Network', 'Log'):
            self.send(f'{domain}.enable')

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._out)
        os.close(self._in)

    def send(self, method, **params):
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        while (answer := self._receive()).get('id') != self._number:
            self.events.append(answer)
        assert 'error' not in answer, answer
        return answer['result']

    def _receive(self):
        while b'\0' not in self._rest:
            part = os.read(self._in, 2**20)
            assert part, 'Chromium ended'
            self._rest += part
        message, _, self._rest = self._rest.partition(b'\0')
        return json.loads(message)

    def open(self, url):
        for address in ('about:blank', url):  # to another place in the same page a browser would only scroll
            self.events.clear()
            self.send('Page.navigate', url=address)
            while not any(event.get('method') == 'Page.loadEventFired' for event in self.events):
                self.events.append(self._receive())

    def run(self, script):
        """The value of an expression in the page; of a promise, what it ends with."""
        result = self.send('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def settle(self):
        self.run('new Promise((done) => setTimeout(done, 200))')


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp('profile'))
    yield opened
    opened.close()


@pytest.fixture(scope='module')
def folder(record, tmp_path_factory):
    """A page of five wells; the full overlay of A2 lies beside it, that of A10 does not."""
    out = tmp_path_factory.mktemp('a folder #1 ü')
    names = {'overlay': '{}_overlay.png', 'csv': '{}_cells.csv'}
    records = [
        record(
            well,
            count,
            nuclei=nuclei,
            fusion_index=0.85,  # its axis has the tick 0.5
            notes=[f'note on {well}'],
            files={key: name.format(well) for key, name in names.items()},
        )
        for well, count, nuclei in (('A1', 12, 40), ('A2', 7, 9), ('A10', 103, 400), ('B1', 0, 3), ('H12', 55, 80))
    ]
    (out / 'A2_overlay.png').write_bytes(png_bytes(np.full((1000, 1500, 3), 90, np.uint8)))
    (out / 'plate.csv').write_text('well,condition\nA1,control\nA2,control\nA10,"<i>RANKL</i>"\n')
    write_folder(out, records, SummaryOptions(read_plate_map(out / 'plate.csv')), is_complete=False)
    return out


@pytest.fixture
def page(browser, folder):
    """The page, opened; at the end nothing may have gone wrong in it, and nothing may have left the computer."""
    browser.open((folder / 'index.html').as_uri())
    yield browser
    browser.settle()
    urls = [e['params']['request']['url'] for e in browser.events if e.get('method') == 'Network.requestWillBeSent']
    assert urls and {url.partition(':')[0] for url in urls} <= {'file', 'data'}
    assert not any(event.get('method') == 'Runtime.exceptionThrown' for event in browser.events)


OPENED = "document.getElementById('zoom').open && document.getElementById('zoom-name').textContent"
ORDER = "[...document.querySelectorAll('#wells tbody tr')].map((row) => row.cells[0].textContent)"


def test_what_is_shown(page):
    assert page.run('document.title') == '177 osteoclasts in 5 wells'
    assert page.run("document.querySelectorAll('.plate .well').length") == 5
    assert page.run("document.querySelectorAll('.plate .empty').length") == 96 - 5
    widths = "[...document.querySelectorAll('.well img')].map((image) => image.naturalWidth)"
    assert page.run(widths) == [4] * 5
    assert page.run("document.querySelectorAll('#histograms svg').length") == 2
    assert page.run("document.querySelectorAll('#histograms rect').length") == 2  # one bar each
    assert page.run("document.querySelectorAll('#plots svg').length") == 6
    assert page.run("document.querySelectorAll('#plots circle').length") == 18  # three wells each
    assert page.run('document.body.innerText').count('<i>RANKL</i>') >= 2


def test_no_errors(page):
    page.settle()
    errors = [e['params']['entry'] for e in page.events if e.get('method') == 'Log.entryAdded']
    assert [entry['text'] for entry in errors if entry['level'] == 'error'] == []


def test_the_number_under_the_pictures_is_chosen(page):
    values = "[...document.querySelectorAll('.well')].map((card) => card.querySelector('.value').textContent)"
    assert page.run(values) == ['12', '7', '103', '0', '55']
    choose = "const s = document.getElementById('measure'); s.value = 'nuclei'; s.dispatchEvent(new Event('change'))"
    page.run(choose)
    assert page.run(values) == ['40', '9', '400', '3', '80']


def test_sorting(page):
    def click(column):
        page.run(f"document.querySelectorAll('#wells thead button')[{column}].click()")
        return page.run(ORDER)

    assert page.run(ORDER) == ['A1', 'A2', 'A10', 'B1', 'H12']
    assert click(2) == ['B1', 'A2', 'A1', 'H12', 'A10']  # by count
    assert click(2) == ['A10', 'H12', 'A1', 'A2', 'B1']
    assert click(0) == ['A1', 'A2', 'A10', 'B1', 'H12']  # as people count
    assert click(1)[-2:] == ['B1', 'H12']  # those without condition last
    assert click(4)[-1] == 'B1'  # by mean area, which it has not


def test_a_click_opens_a_well_with_the_full_overlay_beside_the_page(page):
    assert page.run(OPENED) is False
    page.run("document.querySelector('[data-well=A2]').click()")
    page.settle()
    assert page.run(OPENED) == 'A2 · control'
    assert page.run("document.getElementById('zoom-image').naturalWidth") == 4
    assert page.run("document.getElementById('zoom-notes').innerText") == 'note on A2'
    assert page.run("document.getElementById('zoom-facts').innerText").split('\n')[:2] == ['osteoclasts', '7']
    shown = '(swatch) => [swatch.parentElement.textContent, swatch.style.background]'
    swatches = f"[...document.querySelectorAll('#zoom-facts .swatch')].map({shown})"
    assert page.run(swatches) == [['osteoclasts', 'rgb(0, 160, 60)'], ['nuclei', 'rgb(0, 110, 230)']]
    links = "[...document.querySelectorAll('#zoom-files a')].map((link) => link.getAttribute('href'))"
    assert page.run(links) == ['A2_overlay.png', 'A2_cells.csv']
    page.run("document.getElementById('enlarge').click()")
    page.settle()
    assert page.run("document.getElementById('zoom-image').naturalWidth") == 1500
    page.run("document.getElementById('zoom-outlines').click()")
    assert page.run("document.getElementById('zoom-image').naturalWidth") == 4  # the overlay has outlines drawn in


def test_without_the_full_overlay_the_picture_of_the_page_is_shown(page):
    page.run("document.querySelector('[data-well=A10]').click()")
    page.settle()
    assert page.run(OPENED) == 'A10 · <i>RANKL</i>'
    assert page.run("document.getElementById('zoom-image').naturalWidth") == 4


def test_a_click_on_a_cell_shows_its_measures_and_takes_a_decision(page):
    page.run("document.querySelector('[data-well=A1]').click()")
    page.settle()
    page.run("document.querySelector('#zoom-lines path').dispatchEvent(new MouseEvent('click', { bubbles: true }))")
    facts = page.run("document.getElementById('cell-facts').innerText")
    assert all(word in facts for word in ('osteoclast_0001', 'low score', '600'))
    page.run("document.querySelector('#cell-facts .rejected').click()")
    assert page.run("document.getElementById('review-count').textContent") == '1 rejected, 0 accepted.'
    assert page.run("document.querySelector('#zoom-lines path').dataset.decision") == 'rejected'
    page.run("document.querySelector('#looks .look .accepted').click()")  # the same cell in the list
    assert page.run("document.getElementById('review-count').textContent") == '0 rejected, 1 accepted.'
    saved = page.run(
        "new Promise((done) => { URL.createObjectURL = (blob) => { blob.text().then(done); return '#'; };"
        " document.getElementById('save-review').click(); })"
    )
    assert json.loads(saved) == {
        'format': REVIEW_FORMAT,
        'images': {'A1': {'accepted': ['osteoclast_0001'], 'rejected': []}},
    }
    page.run('localStorage.clear()')


@pytest.mark.parametrize('width', [1280, 390])
def test_nothing_is_clipped_or_too_wide(page, width):
    metrics = dict(width=width, height=844, deviceScaleFactor=1, mobile=width < 500)
    page.send('Emulation.setDeviceMetricsOverride', **metrics)
    page.settle()
    assert page.run('document.documentElement.scrollWidth') <= width
    texts = """[...document.querySelectorAll('figure svg text')].flatMap((text) => {
        const [own, all] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
        const inside = own.left >= all.left - 1 && own.right <= all.right + 1 && own.bottom <= all.bottom + 1;
        return inside ? [] : [text.textContent];
    })"""
    assert page.run(texts) == []
    widths = "[...document.querySelectorAll('.plate .empty, .plate .well')].map((place) => place.offsetWidth)"
    shown = [each for each in page.run(widths) if each]  # on a phone empty places are hidden
    assert max(shown) <= min(shown) + 1
    page.run("location.hash = 'well=A10'")
    page.settle()
    assert page.run("document.getElementById('zoom').scrollWidth <= document.getElementById('zoom').clientWidth")
    page.send('Emulation.clearDeviceMetricsOverride')


def test_neighbours_and_closing(page):
    page.run("location.hash = 'well=A1'")
    page.settle()
    for key, well in (('ArrowRight', 'A2'), ('ArrowLeft', 'A1'), ('ArrowLeft', 'H12')):
        page.run(f"document.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}' }}))")
        page.settle()
        assert page.run(OPENED).split(' ')[0] == well
    page.run("document.querySelector('[data-go=close]').click()")
    page.settle()
    assert page.run(OPENED) is False
    assert page.run('location.hash') == ''


def test_an_address_opens_a_well(browser, folder):
    browser.open((folder / 'index.html').as_uri() + '#well=H12')
    assert browser.run(OPENED) == 'H12'
    for odd in ('#well=%E0%A4%A', '#well=none', '#well=constructor', '#other'):
        browser.open((folder / 'index.html').as_uri() + odd)
        assert browser.run(OPENED) is False


def test_no_wells(browser, tmp_path):
    write_folder(tmp_path, [], is_complete=False)
    browser.open((tmp_path / 'index.html').as_uri())
    assert browser.run('document.title') == '0 osteoclasts in 0 wells'
    assert not any(event.get('method') == 'Runtime.exceptionThrown' for event in browser.events)
