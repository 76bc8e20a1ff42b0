import pytest

from noise_mm.coco import issues as kinds
from noise_mm.inspection.annotation_files import Part, Role
from noise_mm.inspection.patch_entries import Patch, check_pseudo_patches, is_number

PATCH = Patch(3, 'images/a.png', 96, 96, 'M1', 'well', 10, 20, 0.5, 0.5, None)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [(1, True), (0.5, True), (0, False), (-1, False), (float('nan'), False), (float('inf'), False), (True, False),
     ('1', False), (None, False), ([1], False)],
)  # fmt: skip
def test_positive_numbers(value, expected):
    assert is_number(value, 0) is expected


def test_extent_is_in_pixels_of_the_well():
    assert PATCH.extent == (10, 20, 10 + 192, 20 + 192)


@pytest.mark.parametrize(
    ('of_batch', 'kinds'),
    [
        (PATCH, []),
        (PATCH._replace(image_id=9), []),
        (None, [kinds.MISSING_IMAGE]),
        (PATCH._replace(width=95), [kinds.WRONG_SIZE]),
        (PATCH._replace(well='other'), [kinds.UNKNOWN_WELL]),
    ],
)
def test_pseudo_labels_are_of_the_patches_of_their_batch(tmp_path, of_batch, kinds):
    part = Part('pseudo/M1', Role.PSEUDO, tmp_path / 'pseudo' / 'M1.json', tmp_path / 'M1')
    found = check_pseudo_patches(part, [PATCH], {PATCH.file_name: of_batch} if of_batch else {})
    assert [issue.kind for issue in found] == kinds
    assert all(issue.place == 'pseudo/M1.json, image 3 (images/a.png)' for issue in found)
