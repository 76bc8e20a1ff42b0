import json

import numpy as np
import pytest

from noise_mm.errors import InputError
from noise_mm.formats.via import ViaPoint, write_via_points
from sample_cultures.statistics import COLUMNS, FRAME_PX, culture_samples, real_sample, row_of


def test_rows_hold_what_was_counted(tmp_path):
    side = 960
    cells = [
        {'kind': 'osteoclast', 'area_px': 2000, 'nuclei': 3},
        {'kind': 'osteoclast', 'area_px': 20000, 'nuclei': 13},
        {'kind': 'pre-osteoclast', 'area_px': 900, 'nuclei': 4},
        {'kind': 'monocyte', 'area_px': 100, 'nuclei': 1},
    ]
    (tmp_path / 'M1' / 'truth').mkdir(parents=True)
    (tmp_path / 'M1' / 'nuclei').mkdir()
    truth = {'batch': 'M1', 'size_px': side, 'cells': cells}
    (tmp_path / 'M1' / 'truth' / 'w.json').write_text(json.dumps(truth))
    points = [ViaPoint(10, 10), ViaPoint(10, 18), ViaPoint(500, 500)]
    write_via_points(tmp_path / 'M1' / 'nuclei' / 'w.csv', {'w.tif': points})
    sample = culture_samples(tmp_path)['M1']
    assert sample.nearest_px == pytest.approx([8, 8, np.hypot(490, 482)])
    row = row_of(sample)
    assert len(row) == len(COLUMNS) - 1
    assert row[0] == f'{2 * FRAME_PX[0] * FRAME_PX[1] / side**2:.0f}'
    assert row[1:4] == ['2,900 / 11,000 / 19,100, 20,000', '8.0, 13', '50%']
    assert row[4].startswith('8.0,') and row[5] == '20%'


def test_no_cultures(tmp_path):
    with pytest.raises(InputError, match=r'no \*/truth/\*.json in it'):
        culture_samples(tmp_path)


@pytest.mark.real
def test_real_image(shared_dir):
    row = row_of(real_sample(shared_dir / 'data' / 'real_trap'))
    assert row[0] == '13' and row[2] == '6.2, 18' and row[4].startswith('7.3,')
