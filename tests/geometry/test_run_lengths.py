import numpy as np
import pytest
from pycocotools import mask as coco_mask

from noise_mm.evaluation.regions import as_rle
from noise_mm.geometry.run_lengths import require_whole


def drawn(rows, columns):
    mask = np.zeros((20, 30), dtype=bool)
    mask[rows, columns] = True
    return mask


def test_whole_run_lengths_pass():
    rng = np.random.default_rng(0)
    masks = [drawn(0, 0), drawn(slice(None), slice(None)), drawn(slice(0), 0), *(rng.random((50, 20, 30)) < 0.3)]
    require_whole([])
    require_whole([as_rle(mask) for mask in masks])
    text = as_rle(masks[-1])
    require_whole([{**text, 'counts': text['counts'].decode()}, as_rle(rng.random((300, 400)) < 0.001)])


@pytest.mark.parametrize('runs', [[599], [601], [0, 20], [10, 20, 30], [500, 50, 49], [0], [300, 600]])
@pytest.mark.parametrize('others', [0, 1, 3])
def test_run_lengths_that_do_not_fill_their_image_are_refused(runs, others):
    """pycocotools never comes to an end where there are too few."""
    short = coco_mask.frPyObjects({'size': [20, 30], 'counts': runs}, 20, 30)
    whole = [as_rle(drawn(slice(2, 6), slice(2, 8)))] * others
    for rles in ([*whole, short], [short, *whole]):
        with pytest.raises(ValueError, match='does not fill'):
            require_whole(rles)


@pytest.mark.parametrize('counts', ['', 'zzzz', 'PPPPPPPPPP0', 'é0', '\x01', b''])
def test_text_that_is_no_run_lengths_is_refused(counts):
    with pytest.raises(ValueError, match='compressed'):
        require_whole([{'size': [20, 30], 'counts': counts}])
    with pytest.raises(ValueError, match='compressed'):
        require_whole([as_rle(drawn(0, 0)), {'size': [20, 30], 'counts': counts}, as_rle(drawn(0, 0))])


def test_negative_runs_are_refused():
    # 5, -3, 598 in digits of five bits
    assert chr(48 + 5) + chr(48 + 29) == '5M'
    with pytest.raises(ValueError, match='does not fill'):
        require_whole(
            [{'size': [20, 30], 'counts': '5M' + chr(48 + (598 & 31 | 32)) + chr(48 + (598 >> 5 | 32)) + '0'}]
        )
