import json
import re
from collections import Counter

import pytest

from noise_mm.inspection.annotation_files import find_parts
from noise_mm.inspection.counts import (
    cells_of_batches,
    cells_table,
    count_cells,
    count_nuclei,
    nuclei_of_batches,
    nuclei_table,
    pseudo_table,
    table,
)
from noise_mm.inspection.dataset import check_part

# The cells of the fixture: polygons of circles with these radii, at 0.5 um a pixel.
RADII_PX, UM_PER_PX = (10, 14), 0.5
CIRCLE_SHARE = 3.1365  # area of shapely's 64-gon over radius squared
AREAS_PX2 = [CIRCLE_SHARE * radius**2 for radius in RADII_PX]


@pytest.fixture
def parts(dataset):
    return lambda: [check_part(part) for part in find_parts(dataset)[0]]


def set_all(name, /, **values):
    def change(content):
        for entry in content[name]:
            entry.update(values)

    return change


def rows(lines):
    """The numbers of each row by its name; titles, rules and notes are of one column."""
    columns = [re.split(' {2,}', line) for line in lines]
    _, *found = [row for row in columns if len(row) > 1]
    return {name: numbers for name, *numbers in found}


def test_a_cell_in_two_patches_is_one_cell(parts):
    one = cells_of_batches(parts())[0]
    assert (one.name, one.wells, one.cells, one.outlines, one.ignored) == ('M1', 3, 6, 9, 0)
    assert one.per_patch == [2, 1, 2, 1, 2, 1]
    assert sorted(one.areas_px2) == pytest.approx(sorted(AREAS_PX2 * 3), rel=1e-4)
    assert sorted(one.areas_um2) == pytest.approx(sorted(area * UM_PER_PX**2 for area in AREAS_PX2 * 3), rel=1e-4)


def test_cells_of_the_same_number_in_different_wells_are_different(parts, edit):
    edit('M1/annotations.json', set_all('annotations', cell=1))
    assert cells_of_batches(parts())[0].cells == 3


def test_area_of_a_cell_is_that_of_the_whole_as_its_largest_piece_tells(parts, edit):
    """The second well: 60 % of a cell in one patch, 10 % in the other, stored at half the size of the well."""

    def change(content):
        small, *_ = [one for one in content['annotations'] if one['image_id'] == 3]
        other, *_ = [one for one in content['annotations'] if one['image_id'] == 4]
        small.update(cell=1, visible_fraction=0.6)
        other.update(cell=1, visible_fraction=0.1)
        content['annotations'] = [small, other]
        for image in content['images']:
            image.update(scale=0.5, mpp=1.0)

    edit('M1/annotations.json', change)
    one = cells_of_batches(parts())[0]
    assert (one.cells, one.outlines) == (1, 2)
    assert one.areas_px2 == pytest.approx([AREAS_PX2[0] / 0.6 / 0.5**2], rel=1e-4)
    assert one.areas_um2 == pytest.approx([AREAS_PX2[0] / 0.6], rel=1e-4)


def test_without_numbers_of_cells_whole_outlines_are_measured(parts, edit):
    def change(content):
        for one in content['annotations']:
            del one['cell'], one['visible_fraction']
        content['annotations'][0].update(segmentation=[[0, 0, 40, 0, 40, 40, 0, 40]], bbox=[0, 0, 40, 40], area=1600)

    edit('M1/annotations.json', change)
    one = cells_of_batches(parts())[0]
    assert (one.cells, one.outlines, len(one.areas_px2)) == (None, 9, 8)
    assert rows(cells_table(parts()))['M1'][2:4] == ['-', '-']
    assert 'not told apart' in cells_table(parts())[-1]


def test_ignored_regions_are_counted_apart(parts, edit):
    edit('M1/annotations.json', lambda content: content['annotations'][0].update(iscrowd=1))
    one = cells_of_batches(parts())[0]
    assert (one.outlines, one.ignored, one.cells) == (8, 1, 5)


def test_unknown_pixel_size(parts, edit):
    edit('M1/annotations.json', set_all('images', mpp=None))
    one = cells_of_batches(parts())[0]
    assert len(one.areas_px2) == 6 and len(one.areas_um2) == 0
    assert rows(cells_table(parts()))['M1'][-3:-1] == ['-', '-']


def test_nuclei_of_each_batch(parts):
    m1, m2 = nuclei_of_batches(parts())
    assert (m1.name, m1.images, m1.nuclei, m1.boxes) == ('M1', 2, [3, 3], 6)
    assert m1.patches == Counter(train=1, val=1)
    assert set(m1.box_px) == {18} and set(m1.box_um) == {9}
    assert (m2.name, m2.boxes) == ('M2', 6)


def test_nuclei_that_the_file_does_not_count(parts, edit):
    edit('nuclei/wells.json', lambda wells: wells[0].update(nuclei=None))
    assert [one.nuclei for one in nuclei_of_batches(parts())] == [None, [3, 3]]
    assert rows(nuclei_table(parts()))['all M'][4:6] == ['-', '-']


def test_sums(parts):
    both = count_cells('both', parts()[:2])
    assert (both.name, both.wells, both.cells, both.outlines) == ('both', 5, 10, 15)
    assert len(both.areas_px2) == 10 and len(both.per_patch) == 10
    nuclei = count_nuclei('both', parts()[2], ['M1', 'M2'])
    assert (nuclei.images, nuclei.nuclei, nuclei.boxes) == (4, [3, 3, 3, 3], 12)


def test_tables(parts):
    lines = cells_table(parts())
    assert lines[0] == 'osteoclasts'
    found = rows(lines)
    assert list(found) == ['M1', 'M2', 'all M']
    mean = sum(AREAS_PX2) / 2
    numbers = ['5', '10', '10', '2.0', '15', '0', '1.5', f'{mean:.0f}', f'{mean / 4:.0f}', f'{mean / 4:.0f}', '100%']
    assert found['all M'] == numbers
    assert rows(nuclei_table(parts()))['M1'] == ['2', '2', '1', '1', '6', '3.0', '6', '18.0', '9.0']
    assert rows(pseudo_table(parts())) == {'M1': ['6', '9', '6', '1.0']}


def test_several_kinds_of_batches(parts, dataset, edit):
    (dataset / 'M2').rename(dataset / 'H1')
    edit('H1/annotations.json', lambda content: json.loads(json.dumps(content).replace('"M2"', '"H1"')))
    assert list(rows(cells_table(parts()))) == ['H1', 'M1', 'all']


def test_batch_without_wells_and_patches(parts, dataset):
    (dataset / 'M1' / 'annotations.json').write_text('[]')
    (dataset / 'M1' / 'wells.json').write_text('[]')
    assert rows(cells_table(parts()))['M1'] == ['0', '0', '0', '-', '0', '0', '-', '-', '-', '-', '-']


def test_no_tables_without_parts():
    assert cells_table([]) == nuclei_table([]) == pseudo_table([]) == []


def test_columns_are_aligned():
    lines = table(['name', 'n'], [['a', '1'], ['long name', '1000']])
    assert lines == ['name          n', '---------------', 'a             1', 'long name  1000']
