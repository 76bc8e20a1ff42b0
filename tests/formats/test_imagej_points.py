import zipfile

import numpy as np
import pytest
from roifile import ROI_TYPE, ImagejRoi

from noise_mm.errors import InputError
from noise_mm.formats.imagej_points import read_imagej_points, unwrapped_points, write_multi_point


def test_points_come_back_where_they_were(tmp_path):
    points = np.random.default_rng(0).uniform(0, 15_000, (300, 2))
    write_multi_point(tmp_path / 'a.roi', points)
    roi = ImagejRoi.fromfile(tmp_path / 'a.roi')
    assert (roi.roitype, roi.name) == (ROI_TYPE.POINT, 'nuclei')
    assert roi.coordinates() == pytest.approx(points, abs=0.002)
    read, notes = read_imagej_points(tmp_path / 'a.roi')
    assert read == pytest.approx(points, abs=0.002)
    assert notes == []


def test_no_point_is_no_selection(tmp_path):
    with pytest.raises(ValueError, match='needs a point'):
        write_multi_point(tmp_path / 'a.roi', [])
    assert not list(tmp_path.iterdir())


def test_multi_points_and_single_points_of_a_zip_are_read(tmp_path):
    """Points in whole numbers name pixels; areas beside them are left out with a note."""
    whole = ImagejRoi.frompoints(np.array([[3, 4], [7, 9]], np.int32))
    fine = ImagejRoi.frompoints(np.array([[1.25, 2.5]], np.float32))
    for roi in (whole, fine):
        roi.roitype = ROI_TYPE.POINT
    area = ImagejRoi(roitype=ROI_TYPE.RECT, left=3, top=4, right=30, bottom=20)
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        for number, roi in enumerate((whole, fine, area)):
            archive.writestr(f'{number}.roi', roi.tobytes())
    points, notes = read_imagej_points(tmp_path / 'a.zip')
    assert points.tolist() == [[3.5, 4.5], [7.5, 9.5], [1.25, 2.5]]
    assert notes == ['1 ROIs that are no points are left out']


def test_files_without_points_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / 'a.roi'
    path.write_bytes(ImagejRoi(roitype=ROI_TYPE.RECT, left=3, top=4, right=30, bottom=20).tobytes())
    with pytest.raises(InputError, match=r'a\.roi: holds no point selection, but 1 other ROIs'):
        read_imagej_points(path)
    write_multi_point(path, [[1, 2], [3, 4]])
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(InputError, match=r'a\.roi: .*not a whole ImageJ ROI'):
        read_imagej_points(path)
    write_multi_point(path, [[np.nan, 2]])
    with pytest.raises(InputError, match='not a finite number'):
        read_imagej_points(path)


def test_points_that_imagej_wrapped_are_moved_back_where_the_image_is_that_large():
    points = [(-4535.5, 70.5), (5.5, 9.5)]
    assert unwrapped_points(points, (70_000, 200)) == ([(61_000.5, 70.5), (5.5, 9.5)], 1)
    assert unwrapped_points(points, (60_000, 200)) == (points, 0)
