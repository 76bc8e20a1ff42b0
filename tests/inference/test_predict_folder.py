"""Runs over folders: what is written when, what a cut run leaves, and what is said of images that can't be done."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple

import cv2
import mmcv
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from noise_mm.distributed import Ranks
from noise_mm.errors import InputError
from noise_mm.inference import predict_folder as module
from noise_mm.inference.detection import Detection
from noise_mm.inference.partition import partition
from noise_mm.inference.predict_folder import PredictOptions, predict_folder
from noise_mm.inference.predict_well import TileSettings
from noise_mm.inference.results_folder import LOCK
from noise_mm.inference.tile_pipeline import NetworkError
from noise_mm.report.folder import SummaryOptions
from noise_mm.report.output_files import FORMATS
from noise_mm.report.plate_map import read_plate_map
from noise_mm.slides.well_images import find_images

SETTINGS = TileSettings(100, 50, 4)


class FirstTileOnly:
    """Finds one cell, cut off at the right border of the first tile that it is given."""

    classes = ('cell',)

    def __init__(self):
        self.calls = 0

    def __call__(self, tiles):
        self.calls += 1
        found = Detection(80, 40, np.ones((10, 20), bool), 0.9, 0)
        return [[found] if self.calls == 1 and i == 0 else [] for i in range(len(tiles))]


class Dark:
    """Finds each dark region of each tile."""

    classes = ('cell',)

    def __init__(self):
        self.calls = 0

    def __call__(self, tiles):
        self.calls += 1
        found = []
        for tile in tiles:
            labels, count = ndimage.label(tile[..., 1] < 150)
            found.append([Detection.from_bitmap(labels == i, 0, 0, 0.9, 0) for i in range(1, count + 1)])
        return found


def dots(tiles):
    """A nucleus in the middle of each tile."""
    return [np.array([[50.0, 50.0, 0.7]]) for _ in tiles]


@pytest.fixture
def plate(tmp_path):
    folder = tmp_path / 'plate'
    folder.mkdir()
    for name in ('A1.png', 'A2.png'):
        cv2.imwrite(str(folder / name), np.full((100, 150, 3), 200, np.uint8))
    return folder


@pytest.fixture
def wells(tmp_path):
    """Three wells with cells, each other ones."""
    folder = tmp_path / 'wells'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ('A1.tif', 'A2.tif', 'A3.tif'):
        picture = np.full((430, 520, 3), 220, np.uint8)
        for x, y in rng.uniform(0, (520, 430), (20, 2)).astype(int):
            cv2.circle(picture, (int(x), int(y)), 12, (130, 60, 130), -1)
        tifffile.imwrite(folder / name, picture, tile=(64, 64), photometric='rgb')
    return folder


def predict(images, out, detector=None, mpp=0.7784, formats=('csv',), settings=SETTINGS, facts=None, **options):
    if 'plate_map' in options:
        options['summary'] = SummaryOptions(options.pop('plate_map'))
    options = PredictOptions(tiles=settings, mpp=mpp, formats=formats, metadata=facts or {}, **options)
    predict_folder(images, detector or FirstTileOnly(), out, options, {'config': 'a.py'})


def table(out):
    return list(csv.DictReader((out / 'wells.csv').open()))


def state(folder):
    """Time of change and content of every file."""
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def contents(folder):
    """Return the content of every file, except those that depend on the number of processes."""
    return {name: content for name, (_, content) in state(folder).items() if name not in ('run.json', LOCK)}


def test_names_of_other_files_of_the_folder_are_no_hindrance(plate, tmp_path):
    out = tmp_path / 'out'
    for name in ('wells', 'index', 'conditions', 'records'):
        (plate / f'{name}.png').write_bytes((plate / 'A1.png').read_bytes())
    (tmp_path / 'map.csv').write_text('well,condition\nA1,control\nwells,drug\n')
    plate_map = read_plate_map(tmp_path / 'map.csv')
    predict(find_images([plate]), out, formats=FORMATS, plate_map=plate_map)
    assert [row['well'] for row in table(out)] == ['A1', 'A2', 'conditions', 'index', 'records', 'wells']
    assert (out / 'conditions.csv').read_text().startswith('condition,')
    names = {path.name for path in out.iterdir()}
    assert {'wells.json', 'conditions_cells.csv', 'index_overlay.png', 'run.json', 'index.html'} <= names


def test_record_of_the_run(plate, tmp_path, capsys):
    out = tmp_path / 'out'
    predict(find_images([plate]), out)
    record = json.loads((out / 'run.json').read_text())
    assert record['seams'] == {
        'A1': {'on_seam': 1, 'joined': 0, 'unresolved_at_px': [[90, 45]], 'dropped': 0, 'lowered': 1, 'unvoted': 0},
        'A2': {'on_seam': 0, 'joined': 0, 'unresolved_at_px': [], 'dropped': 0, 'lowered': 0, 'unvoted': 0},
    }
    assert [(row['cells_dropped'], row['cells_lowered']) for row in table(out)] == [('0', '1'), ('0', '0')]
    assert record['arguments'] == {'config': 'a.py'}
    assert record['failed'] == {}
    assert record['tiles'] == {'A1': 2, 'A2': 2}
    assert record['background_tiles'] == {'A1': 0, 'A2': 0}
    assert record['versions']['mmcv'] == mmcv.__version__
    assert [row['count'] for row in table(out)] == ['1', '0']
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith('warning:')]
    assert len(warnings) == 1
    assert 'A1: 1 cells' in warnings[0]
    assert '(90, 45)' in warnings[0]


def test_skipped_background_is_told(plate, tmp_path, capsys):
    detector = FirstTileOnly()
    settings = TileSettings(100, 50, 4, skip_background=True)
    predict([plate / 'A1.png'], tmp_path / 'out', detector, settings=settings)
    assert detector.calls == 0
    assert '2 of 2 tiles are background' in capsys.readouterr().out
    assert json.loads((tmp_path / 'out' / 'run.json').read_text())['background_tiles'] == {'A1': 2}


def test_pixel_size_of_a_file_that_states_none_is_told_once(plate, tmp_path, capsys):
    predict([plate / 'A1.png'], tmp_path / 'out', mpp=None)
    assert capsys.readouterr().out.count('Give --mpp') == 1
    cv2.imwrite(str(plate / 'B1.png'), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(InputError, match='1 x 1 px'):
        predict([plate / 'B1.png'], tmp_path / 'out', mpp=None)
    assert 'Give --mpp' not in capsys.readouterr().out


def test_nuclei_and_conditions(wells, tmp_path):
    (tmp_path / 'map.csv').write_text('well,condition\nA1,control\nA2,drug\nA3,drug\n')
    out = tmp_path / 'out'
    predict(
        find_images([wells]),
        out,
        Dark(),
        nucleus_finder=dots,
        well=module.WellOptions(min_nuclei=1),
        plate_map=read_plate_map(tmp_path / 'map.csv'),
    )
    rows = table(out)
    assert [row['condition'] for row in rows] == ['control', 'drug', 'drug']
    assert all(int(row['nuclei']) > 0 and int(row['pre_osteoclasts']) > 0 for row in rows)
    assert (out / 'conditions.csv').exists()


def test_a_single_bad_image_is_reported_once(plate, tmp_path, capsys):
    (plate / 'B1.png').write_text('text')
    with pytest.raises(InputError, match='B1.png'):
        predict([plate / 'B1.png'], tmp_path / 'out')
    assert capsys.readouterr().err == ''
    assert not list((tmp_path / 'out').iterdir())


def test_bad_images_among_others_are_named_and_recorded(wells, tmp_path, capsys):
    (wells / 'B1.tif').write_text('text')
    whole = (wells / 'A2.tif').read_bytes()
    (wells / 'B2.tif').write_bytes(whole[: len(whole) // 2])
    tifffile.imwrite(wells / 'B3.tif', np.zeros((1, 1, 3), np.uint8), photometric='rgb')
    with tifffile.TiffWriter(wells / 'B4.tif') as writer:
        for side in (512, 256):
            pixels = np.full((side, side, 3), 220, np.uint8)
            levels = {'subifds': 1} if side == 512 else {'subfiletype': 1}
            writer.write(pixels, tile=(64, 64), photometric='rgb', resolution=(1, 1), resolutionunit=1, **levels)
    tifffile.imwrite(wells / 'C1.tif', np.full((120, 120), 30000, np.uint16), photometric='minisblack')
    tifffile.imwrite(wells / 'C2.tif', np.full((120, 120), 120, np.uint8), photometric='minisblack')
    with pytest.raises(InputError, match='4 of 9 images failed'):
        predict(find_images([wells]), tmp_path / 'out', Dark(), mpp=None)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('failed:')]
    assert len(lines) == 4
    for line, words in zip(
        lines, (('B1.tif',), ('B2.tif', 'truncated'), ('B3.tif', '1 x 1 px'), ('B4.tif', '--mpp')), strict=True
    ):
        assert all(word in line for word in words)
    failed = json.loads((tmp_path / 'out' / 'run.json').read_text())['failed']
    assert failed == {well: line[8:] for well, line in zip(('B1', 'B2', 'B3', 'B4'), lines, strict=True)}
    assert [row['well'] for row in table(tmp_path / 'out')] == ['A1', 'A2', 'A3', 'C1', 'C2']


def test_an_image_that_turns_out_damaged_is_named(wells, tmp_path, capsys):
    data = bytearray((wells / 'A2.tif').read_bytes())
    tifffile.imwrite(wells / 'A2.tif', tifffile.imread(wells / 'A1.tif'), tile=(64, 64), compression='zlib')
    data = bytearray((wells / 'A2.tif').read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    (wells / 'A2.tif').write_bytes(data)
    with pytest.raises(InputError, match='1 of 3 images failed'):
        predict(find_images([wells]), tmp_path / 'out', Dark())
    assert 'failed: ' in (err := capsys.readouterr().err)
    assert 'A2.tif' in err
    assert [row['well'] for row in table(tmp_path / 'out')] == ['A1', 'A3']


def test_a_fault_of_the_network_ends_the_run_at_once(wells, tmp_path, capsys):
    class Broken(Dark):
        def __call__(self, tiles):
            if self.calls > 30:
                raise NetworkError('the network cannot run here')
            return super().__call__(tiles)

    with pytest.raises(NetworkError):
        predict(find_images([wells]), tmp_path / 'out', Broken())
    assert 'failed:' not in capsys.readouterr().err
    assert [row['well'] for row in table(tmp_path / 'out')] == ['A1']


def test_output_that_cannot_be_written_is_refused_before_anything_is_predicted(plate, tmp_path):
    (tmp_path / 'file').write_text('')
    detector = FirstTileOnly()
    for out in (tmp_path / 'file', tmp_path / 'file' / 'out'):
        with pytest.raises(InputError, match='cannot write here'):
            predict(find_images([plate]), out, detector)
    assert detector.calls == 0


def test_results_do_not_go_among_the_wells(plate, tmp_path, monkeypatch):
    monkeypatch.chdir(plate)
    for out in (plate, plate / '..' / 'plate', plate.relative_to(plate)):
        with pytest.raises(InputError, match='--out .*a folder of its own'):
            predict(find_images([plate]), out)
    predict(find_images([plate]), plate / 'results', formats=('overlay',))
    assert len(find_images([plate])) == 2


def test_the_summary_is_correct_after_each_well(wells, tmp_path):
    out = tmp_path / 'out'
    seen = []

    class Looking(Dark):
        def __call__(self, tiles):
            seen.append([row['well'] for row in table(out)] if (out / 'wells.csv').exists() else [])
            return super().__call__(tiles)

    predict(find_images([wells]), out, Looking())
    assert [wells for i, wells in enumerate(seen) if i == 0 or wells != seen[i - 1]] == [[], ['A1'], ['A1', 'A2']]


def test_resuming_leaves_finished_wells_alone_and_does_the_rest(wells, tmp_path, capsys):
    images, out = find_images([wells]), tmp_path / 'out'
    predict(images, tmp_path / 'whole', Dark(), formats=('csv', 'coco'))
    predict(images[:2], out, Dark(), formats=('csv', 'coco'))
    before = state(out)
    detector = Dark()
    predict(images, out, detector, formats=('csv', 'coco'), resume=True)
    assert '2 of 3 wells are finished' in capsys.readouterr().out
    after = state(out)
    for name in before:
        if name.startswith(('A1', 'A2', 'records')):
            assert after[name] == before[name], name
    assert contents(out) == contents(tmp_path / 'whole')
    calls = detector.calls
    predict(images, out, detector, formats=('csv', 'coco'), resume=True)
    assert detector.calls == calls
    assert contents(out) == contents(tmp_path / 'whole')


def test_a_changed_image_is_predicted_again(wells, tmp_path, capsys):
    out = tmp_path / 'out'
    predict([wells / 'A1.tif'], out, Dark())
    before = table(out)
    (wells / 'A1.tif').write_bytes((wells / 'A2.tif').read_bytes())
    predict([wells / 'A1.tif'], out, Dark(), resume=True)
    assert 'A1: the image has changed' in capsys.readouterr().out
    assert table(out) != before


def test_other_settings_are_not_resumed(wells, tmp_path):
    out = tmp_path / 'out'
    predict([wells / 'A1.tif'], out, Dark(), facts={'score_thr': 0.25})
    before = state(out)
    changes = [
        ({'facts': {'score_thr': 0.5}}, 'score_thr: 0.25 before, 0.5 now'),
        ({'formats': ('csv', 'coco')}, 'formats'),
        ({'mpp': 0.5}, 'mpp: 0.7784 before, 0.5 now'),
        ({'settings': TileSettings(100, 25, 4)}, 'stride_px: 50 before, 25 now'),
        ({'well': module.WellOptions(well_area_px2=7.0)}, 'well_area_px2: None before, 7.0 now'),
    ]
    for change, words in changes:
        with pytest.raises(InputError, match=f'cannot be resumed.*{words}'):
            predict([wells / 'A1.tif'], out, Dark(), **({'facts': {'score_thr': 0.25}} | change), resume=True)
    assert state(out) == before
    more_at_a_time = TileSettings(100, 50, 7)  # changes no result
    predict([wells / 'A1.tif'], out, Dark(), facts={'score_thr': 0.25}, settings=more_at_a_time, resume=True)


def test_results_of_other_settings_are_replaced_and_not_mixed(wells, tmp_path, capsys):
    images, out = find_images([wells]), tmp_path / 'out'
    predict(images, out, Dark(), formats=('csv', 'coco'))
    predict(images[:2], tmp_path / 'whole', Dark(), formats=('csv',))
    capsys.readouterr()
    predict(images[:2], out, Dark(), formats=('csv',))
    assert "formats: ['coco', 'csv'] before, ['csv'] now" in capsys.readouterr().out
    assert contents(out) == contents(tmp_path / 'whole')


def test_a_folder_may_grow_well_by_well(wells, tmp_path):
    images = find_images([wells])
    predict(images, tmp_path / 'whole', Dark())
    for image in images:
        predict([image], tmp_path / 'out', Dark())
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_an_image_that_fails_now_leaves_nothing_of_an_earlier_run(wells, tmp_path):
    images, out = find_images([wells]), tmp_path / 'out'
    predict(images, out, Dark(), formats=('csv', 'coco'))
    whole = images[1].read_bytes()
    images[1].write_bytes(whole[:5000])
    for resume in (False, True):
        with pytest.raises(InputError, match='1 of 3 images failed'):
            predict(images, out, Dark(), formats=('csv', 'coco'), resume=resume)
        assert [row['well'] for row in table(out)] == ['A1', 'A3']
        assert not list(out.rglob('A2*'))
    for image in images:
        image.write_bytes(whole[:5000])
    with pytest.raises(InputError, match='3 of 3 images failed'):
        predict(images, out, Dark(), formats=('csv', 'coco'))
    assert table(out) == []
    assert not list(out.rglob('A*'))


def test_results_that_still_hold_are_kept_where_writing_them_again_fails(wells, tmp_path, monkeypatch):
    images, out = find_images([wells]), tmp_path / 'out'
    predict(images, out, Dark())
    before = contents(out)
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: Usage(100, 100, 0))
    with pytest.raises(InputError, match='3 of 3 images failed'):
        predict(images, out, Dark())
    assert contents(out) == before


def test_what_killed_runs_left_behind_is_removed(wells, tmp_path):
    images, out = find_images([wells]), tmp_path / 'out'
    left = [out / '.A1_cells-0abc_123.csv', out / '.wells-abcdefgh.csv', out / 'records' / '.A2-abcdefgh.json']
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (1e9, 1e9))
    predict(images, out, Dark(), resume=True)
    predict(images, tmp_path / 'whole', Dark())
    assert contents(out) == contents(tmp_path / 'whole')


DRIVER = """
import sys, time
sys.path.insert(0, {repository!r})
sys.path.insert(0, {tests!r})
from test_predict_folder import Dark, predict, find_images
from pathlib import Path

class Slow(Dark):
    def __call__(self, tiles):
        if (Path({out!r}) / 'records' / 'A1.json').exists():
            Path({out!r}, 'reached').touch()
            time.sleep(600)
        return super().__call__(tiles)

predict(find_images([Path({wells!r})]), Path({out!r}), Slow(), formats=('csv', 'overlay'))
"""


def test_a_killed_run_is_resumed(wells, tmp_path, repo_dir):
    out = tmp_path / 'out'
    driver = tmp_path / 'driver.py'
    paths = {'repository': repo_dir, 'tests': repo_dir / 'tests' / 'inference', 'out': out, 'wells': wells}
    driver.write_text(DRIVER.format(**{name: str(path) for name, path in paths.items()}))
    process = subprocess.Popen([sys.executable, driver], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (out / 'reached').exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    errors = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL, errors
    (out / 'reached').unlink()
    assert [row['well'] for row in table(out)] == ['A1']
    before = state(out)
    images = find_images([wells])
    predict(images, out, Dark(), formats=('csv', 'overlay'), resume=True)
    after = state(out)
    assert all(after[name] == before[name] for name in before if name.startswith('A1'))
    predict(images, tmp_path / 'whole', Dark(), formats=('csv', 'overlay'))
    assert contents(out) == contents(tmp_path / 'whole')


Usage = namedtuple('Usage', 'total used free')


def test_a_full_disk_is_told_without_predicting_on(wells, tmp_path, monkeypatch, capsys):
    detector = Dark()
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda path: Usage(100, 100, 0))
    with pytest.raises(InputError, match='3 of 3 images failed'):
        predict(find_images([wells]), tmp_path / 'out', detector)
    assert capsys.readouterr().err.count('the disk is full') == 3
    assert detector.calls == 0


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EFBIG, errno.EIO])
def test_a_well_that_cannot_be_written_is_named_and_the_others_done(wells, tmp_path, monkeypatch, capsys, number):
    def write(folder, well, *rest):
        if well == 'A2':
            raise OSError(number, os.strerror(number), str(folder / 'A2.json'))
        return write_well(folder, well, *rest)

    write_well = module.write_well
    monkeypatch.setattr(module, 'write_well', write)
    with pytest.raises(InputError, match='1 of 3 images failed'):
        predict(find_images([wells]), tmp_path / 'out', Dark())
    assert os.strerror(number) in (err := capsys.readouterr().err)
    assert 'A2.tif' in err
    assert [row['well'] for row in table(tmp_path / 'out')] == ['A1', 'A3']
    assert not (tmp_path / 'out' / 'records' / 'A2.json').exists()
    monkeypatch.setattr(module, 'write_well', write_well)
    predict(find_images([wells]), tmp_path / 'out', Dark(), resume=True)
    predict(find_images([wells]), tmp_path / 'whole', Dark())
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def predict_together(count, images, out, delays=None, **options):
    """Run several processes, which are threads here, and return what each raised."""
    raised = [None] * count

    def work(rank):
        time.sleep((delays or {}).get(rank, 0))
        try:
            predict(images, out, Dark(), formats=('csv', 'coco'), ranks=Ranks(rank, count), **options)
        except InputError as error:
            raised[rank] = str(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def damage(image, whole):
    """Make a TIFF that opens and turns out damaged."""
    tifffile.imwrite(image, tifffile.imread(whole), tile=(64, 64), compression='zlib')
    data = bytearray(image.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    image.write_bytes(data)


@pytest.mark.parametrize('count', [2, 3, 5])
def test_processes_together_give_what_one_gives(wells, tmp_path, count):
    images, out = find_images([wells]), tmp_path / 'out'
    predict(images, tmp_path / 'whole', Dark(), formats=('csv', 'coco'), nucleus_finder=dots)
    assert predict_together(count, images, out, nucleus_finder=dots) == [None] * count
    assert contents(out) == contents(tmp_path / 'whole')
    assert json.loads((out / 'run.json').read_text())['processes'] == count
    before = state(out)
    assert predict_together(count, images, out, nucleus_finder=dots, resume=True) == [None] * count
    changed = {name for name, content in state(out).items() if content != before[name]}
    assert changed <= {'run.json', 'wells.csv', 'cells.csv', 'results.xlsx', 'index.html', LOCK}


def test_a_process_that_begins_late_changes_nothing(wells, tmp_path):
    images, out = find_images([wells]), tmp_path / 'out'
    predict(images, tmp_path / 'whole', Dark(), formats=('csv', 'coco'))
    predict(images[1:], out, Dark(), facts={'score_thr': 0.1})
    assert predict_together(2, images, out, delays={1: 1.0}) == [None, None]
    assert contents(out) == contents(tmp_path / 'whole')


def test_images_that_fail_in_some_process(wells, tmp_path, capsys):
    images, out = find_images([wells]), tmp_path / 'out'
    predict(images, out, Dark(), formats=('csv', 'coco'))
    (wells / 'B1.tif').write_text('text')
    damage(images[1], images[0])
    capsys.readouterr()
    raised = predict_together(2, find_images([wells]), out)
    assert any('images failed' in text for text in raised if text)
    failed = [line for line in capsys.readouterr().err.splitlines() if line.startswith('failed:')]
    assert len(failed) == 2
    assert set(json.loads((out / 'run.json').read_text())['failed']) == {'A2', 'B1'}
    assert [row['well'] for row in table(out)] == ['A1', 'A3']
    assert not list(out.rglob('A2*'))


def test_a_killed_process_leaves_a_correct_summary_and_is_resumed(wells, tmp_path, capsys):
    images, out = find_images([wells]), tmp_path / 'out'
    predict(images, tmp_path / 'whole', Dark(), formats=('csv', 'coco'))
    predict(images, out, Dark(), formats=('csv', 'coco'), ranks=Ranks(0, 2))  # the other one never came
    assert 'wells of others are not' in capsys.readouterr().out
    assert [row['well'] for row in table(out)] == [image.stem for image in partition(images, Ranks(0, 2))]
    predict(images, out, Dark(), formats=('csv', 'coco'), resume=True)
    assert contents(out) == contents(tmp_path / 'whole')
