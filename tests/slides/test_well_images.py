import pytest

from noise_mm.errors import InputError
from noise_mm.report.well_names import read_names
from noise_mm.slides.well_images import by_well, find_images, unread_files, unread_note, well_name


@pytest.fixture
def plate(tmp_path):
    folder = tmp_path / 'plate'
    folder.mkdir()
    for name in ('A1.png', 'A2.png'):
        (folder / name).write_bytes(b'not opened here')
    return folder


def test_images_are_found_by_suffix_and_in_order(plate):
    (plate / 'notes.txt').write_text('')
    assert [path.name for path in find_images([plate])] == ['A1.png', 'A2.png']
    assert find_images([plate / 'A2.png', plate / 'A1.png']) == [plate / 'A2.png', plate / 'A1.png']
    assert well_name(plate / 'A.1.tif') == 'A.1'
    assert well_name(plate / 'A1.ome.tif') == well_name(plate / 'A1.OME.TIFF') == 'A1'


def test_what_only_looks_like_an_image_is_passed_over(plate):
    (plate / '._A1.png').write_bytes(b'what macOS leaves beside a file')
    (plate / 'B1.tif').mkdir()
    assert [path.name for path in find_images([plate])] == ['A1.png', 'A2.png']


def test_label_images_in_a_folder_are_no_wells(plate):
    """As Cellpose, napari and this project put them beside the image; one that is named itself is taken."""
    labels = ['A1_labels.tif', 'A1_cp_masks.png', 'A2_masks.tif', 'A2-mask.png', 'mask_A1.png', 'A1_overlay.png']
    labels += ['A1_Simple Segmentation.tif', 'A1_seg.ome.tif']
    for name in labels:
        (plate / name).touch()
    assert [path.name for path in find_images([plate])] == ['A1.png', 'A2.png']
    assert [path.name for path in unread_files([plate, plate / 'A1.png'])] == sorted(labels)
    assert find_images([plate / 'A1_labels.tif']) == [plate / 'A1_labels.tif']
    for name in ('A1.png', 'A2.png'):
        (plate / name).unlink()
    with pytest.raises(InputError, match='all images in this folder are named like label images'):
        find_images([plate])


def test_folders_of_masks_beside_folders_of_images_are_no_wells(plate):
    for name in ('images', 'Masks'):
        (plate / name).mkdir()
        (plate / name / 'A1.png').touch()
    for name in ('A1.png', 'A2.png'):
        (plate / name).unlink()
    assert find_images([plate]) == [plate / 'images' / 'A1.png']
    assert unread_files([plate]) == [plate / 'Masks' / 'A1.png']
    assert find_images([plate / 'Masks']) == [plate / 'Masks' / 'A1.png']  # named itself


def test_files_that_are_no_images_are_listed(plate):
    (plate / 'B').mkdir()
    for name in ('notes.txt', 'C1.vsi', 'A3.czi', 'B/hidden in a folder beside images.txt'):
        (plate / name).touch()
    assert [path.name for path in find_images([plate])] == ['A1.png', 'A2.png', 'A3.czi']
    assert [path.name for path in unread_files([plate])] == ['C1.vsi', 'notes.txt']
    for name in ('A1.png', 'A2.png', 'A3.czi'):
        (plate / name).rename(plate / 'B' / name)
    assert [path.name for path in find_images([plate])] == ['A1.png', 'A2.png', 'A3.czi']
    assert len(unread_files([plate])) == 3
    assert unread_note([plate]).endswith('known format: C1.vsi, notes.txt, hidden in a folder beside images.txt')
    assert unread_note([plate / 'B' / 'A1.png']) == ''


def test_umlauts_of_macos(plate):
    assert well_name(plate / 'Ma\u0308use.tif') == 'M\u00e4use'


def test_wells_of_one_name_are_refused(plate):
    (plate / 'A1.tif').write_bytes((plate / 'A1.png').read_bytes())
    with pytest.raises(InputError, match='the same well name as .*A1.png'):
        find_images([plate])


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match='no images'):
        find_images([tmp_path])
    with pytest.raises(InputError, match='no such file'):
        find_images([tmp_path / 'none'])


def test_wells_in_folders_of_rows_and_plates(tmp_path):
    for name in ('B/03.png', 'B/04.png', 'C/03.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'not opened here')
    images = find_images([tmp_path])
    assert list(by_well(images)) == ['B_03', 'B_04', 'C_03']
    assert [str(name.position) for name in read_names(list(by_well(images)))[0]] == ['B3', 'B4', 'C3']
    assert list(by_well(find_images([tmp_path / 'B']))) == ['03', '04']
