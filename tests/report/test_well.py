import json

import pytest

from noise_mm.measure.found import Found
from noise_mm.report.folder import write_folder
from noise_mm.report.options import WellOptions
from noise_mm.report.output_files import FORMATS
from noise_mm.report.well import write_well
from noise_mm.scale import PixelSize


def test_the_record_of_a_well_survives_json_and_makes_the_folder(slide, result, tmp_path):
    out = tmp_path / 'out'
    record = write_well(out, 'A1', slide, result, PixelSize(0.5), FORMATS, WellOptions(min_nuclei=3, find_well=True))
    assert json.loads(json.dumps(record)) == record
    assert (record['row']['well'], record['row']['count'], record['row']['pre_osteoclasts']) == ('A1', 2, 4)
    assert sorted(record['files'].values()) == sorted(path.name for path in out.iterdir())
    assert len(record['notes']) == 2  # no border of the well, and no stain
    assert len(record['picture']) < 60_000
    write_folder(out, [json.loads(json.dumps(record))], is_complete=False)
    assert 'A1' in (out / 'index.html').read_text(encoding='utf-8')


def test_the_same_result_gives_the_same_bytes(slide, result, tmp_path):
    files = []
    for name in ('one', 'two'):
        write_well(tmp_path / name, 'A1', slide, result, PixelSize(0.5), FORMATS, WellOptions())
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1]


def test_nuclei_are_needed_for_their_least_number(slide, result, tmp_path):
    without = Found(result.outlines)
    with pytest.raises(ValueError, match='min_nuclei needs nuclei'):
        write_well(tmp_path / 'out', 'A1', slide, without, PixelSize(0.5), FORMATS, WellOptions(min_nuclei=3))
    assert not (tmp_path / 'out').exists()
