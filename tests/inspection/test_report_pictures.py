import cv2
import numpy as np
import pytest
import shapely

from noise_mm.errors import InputError
from noise_mm.inspection.annotation_files import find_parts
from noise_mm.inspection.counts import cells_of_batches, nuclei_of_batches
from noise_mm.inspection.dataset import check_part
from noise_mm.inspection.report_pictures import (
    CAPTION_PX,
    COLOURS,
    COLUMNS,
    GAP_PX,
    IGNORED_COLOUR,
    SIDE_PX,
    chosen_patches,
    draw_region,
    write_contact_sheet,
    write_histograms,
)


@pytest.fixture
def parts(dataset):
    return lambda: [check_part(part) for part in find_parts(dataset)[0]]


def sheet_of(parts, folder):
    write_contact_sheet(folder / 'sheet.png', parts)
    return cv2.cvtColor(cv2.imread(str(folder / 'sheet.png')), cv2.COLOR_BGR2RGB)


def near(pixels, colour):
    """How many pixels are close to a colour; lines are blended with what is below."""
    return int((np.abs(pixels.astype(int) - colour).max(axis=-1) < 12).sum())


def ignore_all(content):
    for annotation in content['annotations']:
        annotation['iscrowd'] = 1


def test_a_row_for_each_annotation_file(parts, tmp_path):
    sheet = sheet_of(parts(), tmp_path)
    assert sheet.shape == (4 * (CAPTION_PX + SIDE_PX + GAP_PX), COLUMNS * (SIDE_PX + GAP_PX), 3)
    m1, _, nuclei, _ = np.split(sheet, 4)
    assert near(m1, COLOURS['osteoclast']) > 500 and near(m1, COLOURS['nucleus']) < near(nuclei, COLOURS['nucleus'])
    assert (m1[CAPTION_PX : CAPTION_PX + SIDE_PX, :SIDE_PX] != 255).any(axis=-1).mean() > 0.9


def test_ignored_regions_have_a_colour_of_their_own(parts, tmp_path, edit):
    before = near(sheet_of(parts(), tmp_path), IGNORED_COLOUR)
    edit('M1/annotations.json', ignore_all)
    assert near(sheet_of(parts(), tmp_path), IGNORED_COLOUR) > before + 200


def test_patches_that_cannot_be_read_stay_white(parts, tmp_path, dataset):
    for file in (dataset / 'M1' / 'images').iterdir():
        file.write_bytes(b'')
    first = sheet_of(parts(), tmp_path)[CAPTION_PX : CAPTION_PX + SIDE_PX]
    assert (first == 255).all()


def test_nothing_to_show(tmp_path):
    assert (sheet_of([], tmp_path) == 255).all()


def test_wells_take_turns_and_show_their_fullest_patch(parts):
    one = parts()[0]
    names = [patch.file_name for patch in chosen_patches(one, 4)]
    assert names == [f'images/M1_w{well}_0_{x}.png' for well, x in ((1, 0), (2, 0), (3, 0), (1, 48))]
    assert [patch.well for patch in chosen_patches(one, 2)] == ['M1_w1', 'M1_w3']
    assert len(chosen_patches(one, 100)) == 6


@pytest.mark.parametrize('scale', [0.5, 1, 3])
def test_borders_are_drawn_where_they_are(scale):
    """The drawn line, as a ring, has the centre and the size of the region."""
    pixels = np.zeros((300, 300, 3), np.uint8)
    draw_region(pixels, shapely.box(20, 30, 60, 90), (255, 255, 255), scale)
    weights = pixels[..., 0].astype(float)
    rows, columns = np.mgrid[:300, :300] + 0.5  # centres of pixels
    centre = [(weights * axis).sum() / weights.sum() / scale for axis in (columns, rows)]
    assert centre == pytest.approx([40, 60], abs=0.1)
    filled = np.argwhere(weights > 64)
    assert (np.ptp(filled, axis=0) / scale) == pytest.approx([60, 40], abs=3 / scale)


def test_histograms(parts, tmp_path):
    found = parts()
    write_histograms(tmp_path / 'h.png', cells_of_batches(found), nuclei_of_batches(found))
    full = cv2.imread(str(tmp_path / 'h.png'))
    write_histograms(tmp_path / 'empty.png', [], [])
    empty = cv2.imread(str(tmp_path / 'empty.png'))
    assert full.shape == empty.shape
    assert len(np.unique(full.reshape(-1, 3), axis=0)) > len(np.unique(empty.reshape(-1, 3), axis=0))


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write here'):
        write_contact_sheet(tmp_path / 'file' / 'sheet.png', [])
    with pytest.raises(InputError, match='cannot write here'):
        write_histograms(tmp_path / 'file' / 'h.png', [], [])
