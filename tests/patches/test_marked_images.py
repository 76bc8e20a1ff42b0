"""Images of one name are told apart by their sizes in bytes, as in VIA."""

import json

import pytest

from noise_mm.errors import InputError
from noise_mm.patches.marked_images import find_marked_images


@pytest.fixture
def via(tmp_path):
    """Writes a VIA file of `M1/a.png`, which has 7 bytes, with entries (size, number of points)."""
    folder = tmp_path / 'M1'
    folder.mkdir()
    (folder / 'a.png').write_bytes(bytes(7))

    def write(*entries, name='a.png'):
        content = {}
        for size, count in entries:
            shapes = [{'shape_attributes': {'name': 'point', 'cx': n, 'cy': 1}} for n in range(count)]
            content[f'{name}{size}'] = {'filename': name, 'size': size, 'regions': shapes}
        (folder / 'via.json').write_text(json.dumps(content))
        return find_marked_images(tmp_path, [folder / 'via.json'], 'none')

    return write


def test_the_entry_of_the_size_of_the_file_counts(via):
    (image,) = via((7, 3), (99, 2))
    assert len(image.points) == 3
    assert image.notes == ('1 more entries of this name, of files of other sizes, are not used (2 points)',)


@pytest.mark.parametrize('entries', [((8, 3), (9, 2)), ((-1, 3), (8, 2))])
def test_entries_of_which_none_fits_are_refused(via, entries):
    with pytest.raises(InputError, match=r'has 2 entries for a\.png, 0 of them of the size of the file, 7 bytes'):
        via(*entries)


def test_one_entry_of_another_size_is_noted(via):
    assert via((7, 3))[0].notes == via((-1, 3))[0].notes == ()
    (image,) = via((8, 3))
    assert len(image.points) == 3
    assert image.notes == ('was marked as a file of 8 bytes and now has 7: saved again?',)


def test_names_with_umlauts_and_folders_of_other_systems(via, tmp_path):
    (tmp_path / 'M1' / 'Ma\u0308use.png').write_bytes(bytes(7))
    assert len(via((7, 3), name='C:\\plate\\M\u00e4use.png')[0].points) == 3
