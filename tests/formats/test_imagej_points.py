import numpy as np
import pytest
from roifile import ROI_TYPE, ImagejRoi

from noise_mm.formats.imagej_points import write_multi_point


def test_points_come_back_where_they_were(tmp_path):
    points = np.random.default_rng(0).uniform(0, 15_000, (300, 2))
    write_multi_point(tmp_path / 'a.roi', points)
    roi = ImagejRoi.fromfile(tmp_path / 'a.roi')
    assert (roi.roitype, roi.name) == (ROI_TYPE.POINT, 'nuclei')
    assert roi.coordinates() == pytest.approx(points, abs=0.002)


def test_no_point_is_no_selection(tmp_path):
    with pytest.raises(ValueError, match='needs a point'):
        write_multi_point(tmp_path / 'a.roi', [])
    assert not list(tmp_path.iterdir())
