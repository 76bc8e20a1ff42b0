import numpy as np
import pytest
import shapely

from noise_mm.coco import issues as kinds
from noise_mm.inspection.images import Picture
from noise_mm.inspection.overlaps import (
    drawn_split_issues,
    kind_of,
    same_pictures,
    same_wells,
    stored_split_issues,
    training_sets,
)
from noise_mm.inspection.patch_entries import Patch
from noise_mm.splits import draw_validation_units


def picture(batch, well, x=0, y=0, digest=None, part=None, split=None, scale=1.0):
    name = f'images/{well}_{y}_{x}.png'
    patch = Patch(1, name, 100, 100, batch, well, x, y, 0.5, scale, split)
    return Picture(part or batch, patch, digest or f'{part}{batch}{name}'.encode())


def wells(batch, count):
    """A row of three patches, which overlap by half, in each well."""
    return [picture(batch, f'{batch}_{number}', x) for number in range(count) for x in (0, 50, 100)]


def test_same_well_in_two_batches():
    found = same_wells(one.patch for one in [*wells('M1', 2), picture('M2', 'M1_0'), picture('M3', 'M1_0')])
    assert [(issue.kind, issue.place, issue.what) for issue in found] == [
        (kinds.SAME_WELL, "well 'M1_0'", 'is in M1 and M2 and M3')
    ]
    assert same_wells(one.patch for one in wells('M1', 2) + wells('M2', 2)) == []


@pytest.mark.parametrize(
    ('second', 'is_issue'),
    [
        (picture('M2', 'other', digest=b'1'), True),  # another batch
        (picture('M1', 'other', digest=b'1'), True),  # another well of the batch
        (picture('M1', 'a', 50, digest=b'1'), True),  # another place of the well
        (picture('M1', 'M1-a', digest=b'1', part='nuclei'), False),  # the same well, marked for nuclei
        (picture('M2', 'M2-a', digest=b'1', part='nuclei'), True),  # nuclei that name another batch
        (picture('M2', 'other', digest=b'2'), False),
    ],
)
def test_same_picture(second, is_issue):
    found = same_pictures([picture('M1', 'a', digest=b'1'), second])
    assert len(found) == is_issue
    if is_issue:
        assert found[0].kind == kinds.SAME_PICTURE
        assert found[0].place == f'{second.part}/{second.patch.file_name}'
        assert "M1/images/a_0_0.png (well 'a' of batch 'M1')" in found[0].what


def test_plain_pictures_may_be_equal():
    one, other = picture('M1', 'a'), picture('M2', 'b')
    assert same_pictures([one._replace(digest=None), other._replace(digest=None)]) == []


def test_training_sets_are_those_of_the_protocols():
    batches = ['H2', 'M1', 'M2', 'M3', 'H1']
    assert training_sets(batches) == [
        ['H1', 'H2'], ['H2'], ['H1'], ['M1', 'M2', 'M3'], ['M2', 'M3'], ['M1', 'M3'], ['M1', 'M2']
    ]  # fmt: skip
    assert training_sets(['M1']) == [['M1']]


@pytest.mark.parametrize(('batch', 'kind'), [('M1', 'M'), ('mouse_2', 'mouse'), ('2024-05', '2024-05'), ('H12', 'H')])
def test_kind_of(batch, kind):
    assert kind_of(batch) == kind


def test_split_by_well_keeps_overlapping_patches_on_one_side():
    assert drawn_split_issues(wells('M1', 5) + wells('M2', 3), 'well', 0.2, 0) == []


def test_split_by_patch_is_noted():
    pictures = wells('M1', 5)
    found = drawn_split_issues(pictures, 'patch', 0.2, 0)
    assert [issue.kind for issue in found] == [kinds.PATCH_SPLIT] and kinds.PATCH_SPLIT.is_note
    assert found[0].place == 'training on M1, split by patch'
    assert found[0].what.startswith('3 of 3 validation patches')


@pytest.mark.parametrize('seed', range(5))
def test_shared_patches_against_shapely(seed):
    """Random places at random scales: which validation patches share an area with a training patch."""
    rng = np.random.default_rng(seed)
    pictures = [
        picture('M1', f'w{rng.integers(3)}', int(x), int(y), scale=rng.choice([0.5, 1, 2]))
        for x, y in rng.integers(0, 2000, (60, 2))
    ]
    held_back = draw_validation_units([('M1', one.patch.file_name) for one in pictures], 0.2, seed)
    in_val = [('M1', one.patch.file_name) in held_back for one in pictures]
    boxes = [shapely.box(*one.patch.extent) for one in pictures]
    expected = sum(
        any(
            not in_val[other] and pictures[one].patch.well == pictures[other].patch.well and meets(boxes, one, other)
            for other in range(len(pictures))
        )
        for one in range(len(pictures))
        if in_val[one]
    )
    found = drawn_split_issues(pictures, 'patch', 0.2, seed)
    assert (int(found[0].what.split()[0]) if found else 0) == expected


def meets(boxes, one, other):
    left, top, right, bottom = boxes[one].intersection(boxes[other]).bounds or (0, 0, 0, 0)
    return right - left > 2 and bottom - top > 2


def test_one_picture_in_two_wells_lies_on_both_sides_of_some_split():
    """The same pictures under other names of wells: by well, one may be trained on and the other validated."""
    original = wells('M1', 4)
    copies = [one._replace(patch=one.patch._replace(well=f'copy_{one.patch.well}')) for one in original]
    found = [issue for seed in range(8) for issue in drawn_split_issues(original + copies, 'well', 0.2, seed)]
    assert found and {issue.kind for issue in found} == {kinds.SPLIT_OVERLAP}
    assert not kinds.SPLIT_OVERLAP.is_note


def test_too_few_wells_to_split():
    found = drawn_split_issues(wells('M1', 1), 'well', 0.2, 0)
    assert [(issue.kind, issue.what) for issue in found] == [(kinds.ONE_SIDED, 'there is only one well to split')]


def test_stored_split():
    apart = [picture('M1', 'a', split='train'), picture('M1', 'a', 100, split='val'), picture('M1', 'b', split='val')]
    assert stored_split_issues(apart, 'nuclei') == []
    found = stored_split_issues([*apart, picture('M1', 'a', 60, split='val')], 'nuclei')
    assert [(issue.kind, issue.place) for issue in found] == [(kinds.SPLIT_OVERLAP, 'nuclei, stored split')]
    assert found[0].what == (
        '1 of 3 validation patches show what training shows: M1/images/a_0_60.png as M1/images/a_0_0.png'
    )


def test_images_without_stored_split_are_on_no_side():
    assert stored_split_issues([picture('M1', 'a'), picture('M1', 'a', 50)], 'nuclei') == []
