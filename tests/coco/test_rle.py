import numpy as np
import pytest
from pycocotools import mask as coco_mask

from noise_mm.coco.rle import compressed_counts

SQUARE = [2.0, 2.0, 8.0, 2.0, 8.0, 6.0, 2.0, 6.0]
OTHER = [10.0, 10.0, 14.0, 10.0, 14.0, 14.0, 10.0, 14.0]


def drawn(rows, columns):
    mask = np.zeros((20, 30), dtype=bool)
    mask[rows, columns] = True
    return mask


def as_rle(mask):
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def areas(masks):
    return [int(coco_mask.area({'size': [20, 30], 'counts': text})) for text in compressed_counts(masks, 20, 30)]


def test_all_forms_of_a_mask_are_equal():
    mask = drawn(slice(2, 6), slice(2, 8))
    rle = as_rle(mask)
    uncompressed = {'size': [20, 30], 'counts': [42, 4, *[16, 4] * 5, 600 - 42 - 4 - 5 * 20]}
    forms = [
        [rle],
        [{**rle, 'size': (20, 30), 'counts': rle['counts'].decode()}],
        [uncompressed],
        [[SQUARE]],
        [SQUARE],
        [[np.array(SQUARE)]],
        mask[None],
        mask[None].astype(np.float32),
    ]
    for form in forms:
        (counts,) = compressed_counts(form, 20, 30)
        assert (coco_mask.decode({'size': [20, 30], 'counts': counts}) == mask).all()


def test_parts_are_joined_and_kinds_of_masks_may_be_mixed():
    assert areas([[SQUARE, OTHER], as_rle(drawn(0, 0)), [OTHER]]) == [40, 1, 16]
    assert areas([]) == []


@pytest.mark.parametrize('form', [lambda mask: [as_rle(mask)], lambda mask: mask[None]])
def test_masks_of_another_size_than_the_image_are_refused(form):
    with pytest.raises(ValueError, match=r'a mask is of \[20, 30\], the image is \[30, 20\]'):
        compressed_counts(form(drawn(0, 0)), 30, 20)


@pytest.mark.parametrize('mask', ['text', [], 5, [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], {'counts': 'a'}, ['abcdef']])
def test_what_is_no_mask_is_refused(mask):
    for masks in ([mask], [mask, as_rle(drawn(0, 0))]):
        with pytest.raises(ValueError, match='mask|polygon'):
            compressed_counts(masks, 20, 30)
