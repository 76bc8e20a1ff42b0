import csv
import json

import cv2
import mmcv
import numpy as np
import pytest

from noise_mm.errors import InputError
from noise_mm.wells.detection import Detection
from noise_mm.wells.predict_folder import find_images, predict_folder, well_name
from noise_mm.wells.predict_well import TileSettings

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


@pytest.fixture
def plate(tmp_path):
    folder = tmp_path / 'plate'
    folder.mkdir()
    for name in ('A1.png', 'A2.png'):
        cv2.imwrite(str(folder / name), np.full((100, 150, 3), 200, np.uint8))
    return folder


def predict(images, out, detector=None, um_per_px=0.7784, formats=('csv',)):
    predict_folder(images, detector or FirstTileOnly(), out, SETTINGS, um_per_px, formats, {'config': 'a.py'})


def test_images_are_found_by_suffix_and_in_order(plate):
    (plate / 'notes.txt').write_text('')
    assert [path.name for path in find_images([plate])] == ['A1.png', 'A2.png']
    assert find_images([plate / 'A2.png', plate / 'A1.png']) == [plate / 'A2.png', plate / 'A1.png']
    assert well_name(plate / 'A.1.tif') == 'A.1'


def test_wells_of_one_name_are_refused(plate):
    (plate / 'A1.tif').write_bytes((plate / 'A1.png').read_bytes())
    with pytest.raises(InputError, match='the same well name as .*A1.png'):
        find_images([plate])


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match='no images'):
        find_images([tmp_path])
    with pytest.raises(InputError, match='no such file'):
        find_images([tmp_path / 'none'])


def test_record_of_the_run(plate, tmp_path, capsys):
    out = tmp_path / 'out'
    predict(find_images([plate]), out)
    record = json.loads((out / 'run.json').read_text())
    assert record['seams'] == {
        'A1': {'on_seam': 1, 'joined': 0, 'unresolved_at_px': [[90, 45]]},
        'A2': {'on_seam': 0, 'joined': 0, 'unresolved_at_px': []},
    }
    assert record['arguments'] == {'config': 'a.py'}
    assert record['failed'] == []
    assert record['versions']['mmcv'] == mmcv.__version__
    assert [row['count'] for row in csv.DictReader((out / 'wells.csv').open())] == ['1', '0']
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith('warning:')]
    assert len(warnings) == 1
    assert 'A1: 1 cells' in warnings[0]
    assert '(90, 45)' in warnings[0]


def test_pixel_size_of_a_file_that_states_none_is_told(plate, tmp_path, capsys):
    predict([plate / 'A1.png'], tmp_path / 'out', um_per_px=None)
    assert 'Give --mpp' in capsys.readouterr().out


def test_a_single_bad_image_is_reported_once(plate, tmp_path, capsys):
    (plate / 'B1.png').write_text('text')
    with pytest.raises(InputError, match='B1.png'):
        predict([plate / 'B1.png'], tmp_path / 'out')
    assert capsys.readouterr().err == ''
    assert not list((tmp_path / 'out').iterdir())


def test_bad_images_among_others_are_named_and_recorded(plate, tmp_path, capsys):
    (plate / 'B1.png').write_text('text')
    with pytest.raises(InputError, match='1 of 3 images failed'):
        predict(find_images([plate]), tmp_path / 'out')
    assert 'failed: ' in capsys.readouterr().err
    assert 'B1.png' in json.loads((tmp_path / 'out' / 'run.json').read_text())['failed'][0]


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
