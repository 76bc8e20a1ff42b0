import json
from pathlib import Path

import pytest

from noise_mm.errors import InputError
from noise_mm.inference.released_params import ReleasedParams, read_params

WHOLE = {
    'model_path': 'checkpoints/noise_mh.pt',
    'img_foldername': 'plate7/',
    'out_foldername': 'results/',
    'ratio': 0.429,
    'device': 'cuda',
    'total_well_area_in_pixels': 173174621,
}


def written(tmp_path, content):
    path = tmp_path / 'params.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_all_entries_are_taken(tmp_path):
    expected = ReleasedParams(WHOLE['model_path'], Path('plate7'), Path('results'), 0.429, 'cuda', 173174621.0)
    assert read_params(written(tmp_path, WHOLE)) == expected


def test_what_the_released_tool_has_defaults_for_may_be_missing(tmp_path):
    some = {key: WHOLE[key] for key in ('model_path', 'img_foldername', 'out_foldername')}
    params = read_params(written(tmp_path, some | {'total_well_area_in_pixels': 0}))
    assert (params.mpp, params.device, params.well_area_px2) == (None, None, None)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('{', 'params.json'),
        ([1], 'not an object'),
        (WHOLE | {'rato': 1}, "unknown key 'rato'"),
        ({**WHOLE, 'model_path': None}, 'model_path is missing'),
        (WHOLE | {'ratio': 'big'}, "ratio is 'big'"),
        (WHOLE | {'ratio': 0}, 'ratio is 0'),
        (WHOLE | {'ratio': True}, 'ratio is True'),
        (WHOLE | {'device': 3}, 'device is 3'),
        (WHOLE | {'total_well_area_in_pixels': -5}, 'total_well_area_in_pixels is -5'),
    ],
)
def test_faulty_files_are_refused_by_name(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        read_params(written(tmp_path, content))
