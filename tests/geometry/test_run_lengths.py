import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from noise_mm.geometry.run_lengths import LARGEST_PX2, decode, run_lengths

HEIGHT, WIDTH = 20, 30


def drawn(rows, columns):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[rows, columns] = True
    return mask


def encoded(masks):
    """COCO's text of masks (n, height, width)."""
    return [rle['counts'] for rle in coco_mask.encode(np.asfortranarray(np.moveaxis(masks, 0, 2), dtype=np.uint8))]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 7))
def test_areas_boxes_and_intersections_are_those_of_the_pixels(seed, height, width, n):
    rng = np.random.default_rng(seed)
    masks = rng.random((n, height, width)) < rng.choice([0, 0.05, 0.5, 0.95, 1], n)[:, None, None]
    runs = decode(encoded(masks), height, width)
    assert runs.areas().tolist() == masks.sum(axis=(1, 2)).tolist()
    boxes = runs.boxes()
    for mask, (x, y, w, h) in zip(masks, boxes, strict=True):
        assert mask[y : y + h, x : x + w].sum() == mask.sum()
        assert not mask.any() or all(mask[y : y + h, x : x + w].any(axis=axis)[[0, -1]].all() for axis in (0, 1))
    one, other = np.divmod(np.arange(n * n), n)
    assert runs.intersections(one, other, boxes).tolist() == (masks[one] & masks[other]).sum(axis=(1, 2)).tolist()


def test_texts_and_bytes_empty_masks_and_empty_runs():
    mask = drawn(slice(2, 6), slice(2, 8))
    (text,) = encoded(mask[None])
    split = coco_mask.frPyObjects({'size': [20, 30], 'counts': [42, 2, 0, 2, 16, 4, 0, 0, 534]}, 20, 30)['counts']
    runs = decode([text, text.decode(), *encoded(drawn(0, slice(0))[None]), split], HEIGHT, WIDTH)
    assert runs.areas().tolist() == [24, 24, 0, 8]
    assert runs.boxes().tolist() == [[2, 2, 6, 4], [2, 2, 6, 4], [0, 0, 0, 0], [2, 2, 2, 4]]
    assert runs.intersections(np.array([0, 0, 0]), np.array([1, 2, 3]), runs.boxes()).tolist() == [24, 0, 8]
    assert decode([], HEIGHT, WIDTH).areas().shape == (0,)


@pytest.mark.parametrize('size', [(65_535, 65_535), (46_341, 46_341), (40_000, 50_000)])
def test_images_of_more_than_31_bits(size):
    height, width = size
    counts = [height * 3, 2, height * width - height * 3 - 2]
    text = coco_mask.frPyObjects({'size': size, 'counts': counts}, height, width)['counts']
    runs = decode([text, text], height, width)
    assert runs.boxes().tolist() == [[3, 0, 1, 2]] * 2
    assert runs.intersections(np.array([0]), np.array([1]), runs.boxes()).tolist() == [2]


@pytest.mark.parametrize('runs', [[599], [601], [0, 20], [10, 20, 30], [500, 50, 49], [0], [300, 600]])
@pytest.mark.parametrize('others', [0, 1, 3])
def test_run_lengths_that_do_not_fill_their_image_are_refused(runs, others):
    """pycocotools never comes to an end where there are too few."""
    short = coco_mask.frPyObjects({'size': [HEIGHT, WIDTH], 'counts': runs}, HEIGHT, WIDTH)['counts']
    whole = encoded(np.array([drawn(slice(2, 6), slice(2, 8))] * others)) if others else []
    for texts in ([*whole, short], [short, *whole]):
        with pytest.raises(ValueError, match='does not fill'):
            decode(texts, HEIGHT, WIDTH)


@pytest.mark.parametrize('counts', ['', 'zzzz', 'PPPPPPPPPP0', 'é0', '\x01', b'', '\ud800', '0P'])
def test_text_that_is_no_run_lengths_is_refused(counts):
    sound = encoded(drawn(0, 0)[None])
    for texts in ([counts], [*sound, counts, *sound]):
        with pytest.raises(ValueError, match='compressed'):
            decode(texts, HEIGHT, WIDTH)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-(2**33), 2**33) | st.integers(-3, 700), min_size=1, max_size=12))
def test_no_wrong_run_passes_whatever_overflows(written):
    """As a list they are refused or read; as text the same."""
    size = [HEIGHT, WIDTH]
    text = ''.join(map(digits, written))
    runs = []
    for k, number in enumerate(written):
        runs.append(number + runs[k - 2] if k > 2 else number)
    is_sound = min(runs) >= 0 and sum(runs) == HEIGHT * WIDTH
    if is_sound:
        assert run_lengths({'size': size, 'counts': text}).tolist() == runs
        assert decode([text], HEIGHT, WIDTH).areas().tolist() == [sum(runs[1::2])]
        return
    with pytest.raises(ValueError, match='does not fill'):
        run_lengths({'size': size, 'counts': text})
    with pytest.raises(ValueError, match='does not fill'):
        decode([text], HEIGHT, WIDTH)


def digits(number):
    """A number in COCO's digits of five bits."""
    text = ''
    while True:
        digit, number = number & 31, number >> 5
        more = number != (-1 if digit & 16 else 0)
        text += chr(48 + digit + 32 * more)
        if not more:
            return text


@pytest.mark.parametrize(
    'counts', [None, 5, [5, -3, 598], [2**70], ['a'], [[600]], [0.5, 599.5], {'a': 1}, [LARGEST_PX2 + 1]]
)
def test_lists_that_are_no_runs_are_refused(counts):
    with pytest.raises(ValueError, match='RLE|run-length'):
        run_lengths({'size': [HEIGHT, WIDTH], 'counts': counts})
