import numpy as np

from noise_mm.inference.detection import Detection, without_specks


def test_mask_is_cut_to_its_pixels():
    bitmap = np.zeros((20, 30), bool)
    bitmap[5:8, 10:14] = True
    found = Detection.from_bitmap(bitmap, 100, 200, 0.5, 1)
    assert (found.x, found.y, found.mask.shape) == (110, 205, (3, 4))
    assert found.mask.all()


def test_empty_mask_is_no_detection():
    assert Detection.from_bitmap(np.zeros((4, 4), bool), 0, 0, 0.5, 0) is None


def test_specks_go_and_parts_stay():
    bitmap = np.zeros((60, 60), bool)
    bitmap[:20, :20] = True  # 400 px
    bitmap[40:50, 40:50] = True  # 100 px: another part of the cell
    expected = bitmap.copy()
    bitmap[55, 5] = True
    np.testing.assert_array_equal(without_specks(bitmap), expected)
    np.testing.assert_array_equal(without_specks(expected[:30]), expected[:30])
    assert not without_specks(np.zeros((5, 5), bool)).any()
