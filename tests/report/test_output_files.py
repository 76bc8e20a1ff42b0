"""Where results may go."""

import pytest

from noise_mm.errors import InputError
from noise_mm.report.output_files import FOLDER_FILES, FORMATS, check_output_folder


def test_results_have_a_folder_of_their_own(tmp_path):
    (tmp_path / 'A1.png').write_bytes(b'')
    with pytest.raises(InputError, match='A1.png lies there. Give a folder of its own'):
        check_output_folder(tmp_path, [tmp_path / 'A1.png'])
    check_output_folder(tmp_path / 'out', [tmp_path / 'A1.png'])


@pytest.mark.parametrize('name', ['run.png', 'Run.tif'])
def test_a_well_whose_files_would_replace_those_of_the_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=f'{name}: .*run.json.* Rename'):
        check_output_folder(tmp_path / 'out', [tmp_path / name])


@pytest.mark.parametrize('name', FOLDER_FILES)
def test_a_plate_map_is_not_overwritten(tmp_path, name):
    plate_map = tmp_path / 'out' / '..' / 'out' / name
    with pytest.raises(InputError, match=f'--plate-map .*{name}: would be overwritten'):
        check_output_folder(tmp_path / 'out', [tmp_path / 'A1.png'], plate_map)


def test_nuclei_are_no_format_of_their_own():
    assert 'csv' in FORMATS and 'nuclei' not in FORMATS
