"""The page of tools/app.py: clicked through in a browser, and what its server refuses."""

import io
import shutil
import sys
import threading
import zipfile

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from noise_mm.configuration import load_config
from noise_mm.errors import InputError

serving = pytest.importorskip('werkzeug.serving', reason='the extra app is not installed')

TOKEN = 'secret'
# Stands in for tools/predict.py: a line of progress, results of one well, then the end; or no end, if it shall be fast.
STAND_IN = """
import sys, time
from pathlib import Path
options = dict(word.lstrip('-').split('=', 1) for word in sys.argv[2:] if '=' in word)
if options['weights'] == 'none':
    sys.exit(print('error: --weights none: neither a file nor a name of weights.', file=sys.stderr) or 2)
out = Path(options['out'])
out.mkdir(exist_ok=True)
print('A1: 2/4 tiles, 1 tiles/s, 00:02 elapsed, 00:02 left', file=sys.stderr)
(out / 'index.html').write_text('<h1>7 osteoclasts</h1>')
(out / 'wells.csv').write_text('well,count\\nA1,7\\n')
print('A1: 7 cells, 900 um2; 0 cells met a seam')
if '--fast' in sys.argv:
    time.sleep(600)
print('2 images, 7 cells: see wells.csv')
"""


REVIEW_STAND_IN = """
import json, sys
from pathlib import Path
if json.loads(Path(sys.argv[2]).read_text())['format'] != 'right':
    sys.exit(print('error: not a review', file=sys.stderr) or 2)
out = Path(sys.argv[3].removeprefix('--out='))
out.mkdir()
(out / 'index.html').write_text((Path(sys.argv[1]) / 'index.html').read_text().replace('7', '6'))
print('1 cell rejected')
"""


@pytest.fixture
def app(load_tool, tmp_path, monkeypatch):
    """The tool, with a stand-in for predict.py."""
    tool = load_tool('app')
    (tmp_path / 'stand_in.py').write_text(STAND_IN)
    (tmp_path / 'review.py').write_text(REVIEW_STAND_IN)
    monkeypatch.setattr(tool, 'PREDICT', tmp_path / 'stand_in.py')
    monkeypatch.setattr(tool, 'APPLY_REVIEW', tmp_path / 'review.py')
    return tool


@pytest.fixture
def plate(tmp_path):
    """A folder of two images."""
    folder = tmp_path / 'Platte 7 ä'
    folder.mkdir()
    for well in ('A1', 'A2'):
        cv2.imencode('.png', np.full((64, 64, 3), 215, np.uint8))[1].tofile(folder / f'{well}.png')
    return folder


@pytest.fixture
def client(app):
    application = app.make_app(TOKEN)
    yield application.test_client()
    for job in application.jobs:
        job.cancel()
        job.reader.join()


def get(client, path, **options):
    return client.get(path, base_url='http://127.0.0.1:8000', **options)


def test_strangers_are_refused(client):
    assert get(client, '/status').status_code == 403
    assert get(client, '/?token=guessed').status_code == 403
    assert get(client, f'/?token={TOKEN}').status_code == 200
    assert get(client, '/status').json == {'state': 'idle'}  # the cookie was set
    assert get(client, '/status', headers={'Origin': 'http://evil.example'}).status_code == 403
    assert get(client, '/status', headers={'Origin': 'http://127.0.0.1:8000'}).status_code == 200
    assert client.get(f'/?token={TOKEN}', base_url='http://evil.example').status_code == 400


def test_no_files_but_those_of_the_results_are_served(client, app, plate, tmp_path):
    get(client, f'/?token={TOKEN}')
    assert get(client, '/results/index.html').status_code == 404
    assert get(client, '/tables.zip').status_code == 404
    form = {'wells': str(plate), 'weights': 'some.pth'}
    assert client.post('/run', json=form, base_url='http://127.0.0.1:8000').json['state'] == 'running'
    client.application.jobs[0].reader.join()
    assert b'7 osteoclasts' in get(client, '/results/index.html').data
    assert get(client, '/results/../stand_in.py').status_code == 404
    assert get(client, '/results/%2e%2e/stand_in.py').status_code == 404
    with zipfile.ZipFile(io.BytesIO(get(client, '/tables.zip').data)) as archive:
        assert set(archive.namelist()) == {'index.html', 'wells.csv'}


def test_decisions_are_applied_to_the_results_shown(client, plate):
    def post(path, content):
        answer = client.post(path, json=content, base_url='http://127.0.0.1:8000')
        client.application.jobs[-1].reader.join()
        return answer

    get(client, f'/?token={TOKEN}')
    assert post('/run', {'wells': str(plate), 'weights': 'some.pth'}).status_code == 200
    post('/review', {'format': 'wrong'})
    assert get(client, '/status').json['message'] == 'error: not a review'
    assert b'7 osteoclasts' in get(client, '/results/index.html').data  # still those of the run
    post('/review', {'format': 'right'})
    assert get(client, '/status').json['message'] == 'Done: 1 cell rejected'
    assert b'6 osteoclasts' in get(client, '/results/index.html').data


def test_what_is_missing_is_said(client, plate):
    get(client, f'/?token={TOKEN}')
    for form, words in (
        ({}, 'Choose a folder of wells'),
        ({'wells': str(plate)}, 'Choose weights'),
        ({'wells': str(plate / 'no'), 'weights': 'w'}, 'no such file or folder'),
    ):
        answer = client.post('/run', json=form, base_url='http://127.0.0.1:8000')
        assert answer.status_code == 400
        assert words in answer.json['error']


def test_the_command_is_one_that_predict_takes(app, plate, load_tool, monkeypatch):
    form = {'wells': str(plate), 'weights': '-odd name.pth', 'nuclei_weights': 'nuclei', 'min_nuclei': ' 3 '}
    form |= {'mpp': '0,5', 'score_thr': '0.3', 'plate_map': 'map.xlsx', 'exports': 'on', 'fast': 'on', 'resume': 'on'}
    command, out, wells = app.predict_command(form)
    assert (out, wells) == (plate.with_name(f'{plate.name}_results'), 2)
    monkeypatch.setattr(sys, 'argv', command[1:])
    args = load_tool('predict').parse_arguments()
    assert (args.inputs, args.weights, args.out) == ([plate], '-odd name.pth', out)
    assert (args.mpp, args.score_thr, args.min_nuclei, args.nuclei_weights) == (0.5, 0.3, 3, 'nuclei')
    assert args.fast and args.resume and not args.well_mask
    assert args.formats == 'coco,csv,overlay,roi,geojson'


def test_folders_and_fitting_files_are_listed(app, tmp_path, plate):
    (tmp_path / 'cells.PTH').touch()
    (tmp_path / '.hidden').mkdir()
    content = app.folder_content(str(tmp_path), 'weights')
    assert (content['folders'], content['files']) == ([plate.name], ['cells.PTH'])
    assert app.folder_content(str(plate), 'wells')['images'] == 2
    assert app.folder_content(str(tmp_path / 'cells.PTH'), 'weights')['path'] == str(tmp_path)
    with pytest.raises(InputError, match='Choose another folder'):
        app.folder_content(str(tmp_path / 'no' / 'such'), 'wells')


@pytest.fixture
def browser():
    """Headless Chromium."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='Selenium is not installed')
    driver = shutil.which('chromedriver')
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if driver is None or chromium is None:
        pytest.skip('Chromium or its driver is not installed')
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'):
        options.add_argument(option)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def address(app):
    """The page's address while it is served."""
    application = app.make_app(TOKEN)
    server = serving.make_server('127.0.0.1', 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.port}/?token={TOKEN}'
    for job in application.jobs:
        job.cancel()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_is_chosen_started_cancelled_and_seen_by_clicking(browser, address, plate):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def element(selector):
        return browser.find_element(By.CSS_SELECTOR, selector)

    def wait_for(selector, text):
        WebDriverWait(browser, 60).until(lambda _: text in element(selector).text, f'no {text!r} in {selector}')

    for width in (1280, 390):
        browser.execute_cdp_cmd(
            'Emulation.setDeviceMetricsOverride', dict(width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
        )
        browser.get(address)
        assert browser.execute_script('return document.documentElement.scrollWidth') == width
    element('#start').click()
    wait_for('#message.failed', 'Choose a folder of wells')

    element('[data-choose=wells]').click()
    path = element('#path')
    WebDriverWait(browser, 60).until(lambda _: path.get_attribute('value'))
    path.send_keys('\ue009a\ue000', str(plate.parent), '\n')  # all is selected, then replaced
    wait_for('#entries', plate.name)
    next(each for each in browser.find_elements(By.CSS_SELECTOR, '#entries button') if plate.name in each.text).click()
    wait_for('#take', '2 images')
    element('#take').click()
    assert element('[name=wells]').get_attribute('value') == str(plate)

    element('[name=weights]').send_keys('none')
    element('#start').click()
    wait_for('#message.failed', 'neither a file nor a name of weights')

    element('[name=weights]').send_keys('\ue009a\ue000', 'cells.pth')
    element('[name=fast]').click()
    element('#start').click()
    wait_for('#message.running', '1 of 2 images done')
    element('#cancel').click()
    wait_for('#message.cancelled', 'Cancelled after 1 of 2 images')

    element('[name=fast]').click()
    element('#start').click()
    wait_for('#message.done', '2 images, 7 cells')
    browser.switch_to.frame(element('#page'))
    wait_for('h1', '7 osteoclasts')
    browser.switch_to.default_content()
    assert element('#download').is_displayed()
    assert [entry for entry in browser.get_log('browser') if '/run - ' not in entry['message']] == []


@pytest.mark.slow
def test_a_run_of_predict_itself_is_followed(load_tool, plate, tmp_path, repo_dir):
    config = load_config(repo_dir / 'configs/baseline/yolov8-seg.py', {'model_size': 'n'})
    with DefaultScope.overwrite_default_scope('mmyolo'):
        state = MODELS.build(config.model).state_dict()
    torch.save({'state_dict': state, 'meta': {'dataset_meta': {'classes': ('osteoclast',)}}}, tmp_path / 'nano.pth')
    app = load_tool('app')
    job = app.Job(*app.predict_command({'wells': str(plate), 'weights': str(tmp_path / 'nano.pth')}))
    job.reader.join()
    report = job.report()
    assert (report['state'], report['has_page'], job.wells_done) == ('done', True, 2), report['log']
    assert sum(bool(app.TILES.match(line)) for line in job.lines) >= 2
    form = {'wells': str(plate), 'weights': str(tmp_path / 'nano.pth'), 'resume': 'on'}
    again = app.Job(*app.predict_command(form))
    again.reader.join()
    assert (again.state(), again.wells_done) == ('done', 2)
