import json

import pytest

from noise_mm.errors import InputError
from noise_mm.inference.records import differences, image_metadata, read_records, record_path, write_record

RECORD = {'well': 'A1', 'settings': {'score_thr': 0.25}, 'image': {}, 'result': {}}


def test_records_come_back_by_well(tmp_path):
    assert read_records(tmp_path) == {}
    for well in ('B2', 'A.1'):
        write_record(tmp_path, well, RECORD | {'well': well})
    assert list(read_records(tmp_path)) == ['A.1', 'B2']
    assert read_records(tmp_path)['A.1'] == RECORD | {'well': 'A.1'}


@pytest.mark.parametrize('content', ['[]', '{"well": "A1"}', 'text'])
def test_a_damaged_record_is_named(tmp_path, content):
    record_path(tmp_path, 'A1').parent.mkdir()
    record_path(tmp_path, 'A1').write_text(content)
    with pytest.raises(InputError, match=r'records.A1\.json'):
        read_records(tmp_path)


def test_an_image_is_known_by_size_and_time(tmp_path):
    image = tmp_path / 'A1.tif'
    image.write_bytes(b'abc')
    before = image_metadata(image)
    assert before == json.loads(json.dumps(before))
    image.write_bytes(b'abcd')
    assert image_metadata(image) != before
    with pytest.raises(InputError, match=r'A2\.tif: cannot be read'):
        image_metadata(tmp_path / 'A2.tif')


def test_differences_are_told_in_a_few_words():
    assert differences({'formats': ['csv']}, {'formats': ('csv',)}) == ''
    assert differences({'a': 1}, {'b': None, 'a': 1}) == ''
    assert differences({'mpp': None}, {'mpp': 0.5}) == 'mpp: None before, 0.5 now'
    many = {name: 0 for name in 'abcdef'}
    assert differences(many, {}) == 'a: 0 before, None now; b: 0 before, None now; c: 0 before, None now; 3 more'
