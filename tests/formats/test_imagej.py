import contextlib
import io
import logging
import struct
import time
import zipfile

import numpy as np
import pytest
import roifile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi
from scipy.interpolate import CubicSpline
from shapely import MultiPolygon, Polygon, box

from noise_mm.errors import InputError
from noise_mm.formats.imagej import read_imagej, write_imagej
from noise_mm.geometry.outline import Outline

SQUARE = Outline(box(0, 0, 10, 10))


def _save(path, **fields):
    """Writes one ROI with the given fields of `ImagejRoi`."""
    ImagejRoi(**fields).tofile(path)
    return path


def _vertices(points, roitype=ROI_TYPE.POLYGON, **fields):
    roi = ImagejRoi.frompoints(np.asarray(points))
    roi.roitype = roitype
    for name, value in fields.items():
        setattr(roi, name, value)
    return roi


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_round_trip(data, tmp_path, outline_lists, assert_same_geometry):
    outlines = data.draw(outline_lists)
    path = tmp_path / 'RoiSet.zip'
    write_imagej(path, outlines)
    back = read_imagej(path, size_px=(400, 400))
    for one, other in zip(outlines, back, strict=True):
        assert (one.label, one.score, one.ignored) == (other.label, other.score, other.ignored)
        assert_same_geometry(one.geometry, other.geometry, area_px2=0.02)  # 32-bit floats


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_roifile_reads_the_same_vertices(data, tmp_path, geometries):
    geometry = data.draw(geometries)
    path = tmp_path / 'cell.roi'
    write_imagej(path, [Outline(geometry, name='cell')])
    rings = [ring for part in getattr(geometry, 'geoms', [geometry]) for ring in (part.exterior, *part.interiors)]
    found = ImagejRoi.fromfile(path).coordinates(multi=True)
    for ring, vertices in zip(rings, found, strict=True):
        expected = np.array(ring.coords)
        np.testing.assert_allclose(vertices, expected if len(rings) > 1 else expected[:-1], atol=1e-3)


def test_coordinates_beyond_16_bit_are_kept(tmp_path, assert_same_geometry):
    far = [Outline(box(90000.25, 70000.5, 99000, 99000)), Outline(box(70000, 9, 70010, 19) - box(70003, 12, 70005, 14))]
    write_imagej(tmp_path / 'a.zip', far)
    for one, other in zip(far, read_imagej(tmp_path / 'a.zip'), strict=True):
        assert_same_geometry(one.geometry, other.geometry, area_px2=1e-9)


@pytest.mark.real
def test_real_set_agrees_with_roifile(shared_dir):
    path = shared_dir / 'data' / 'real_trap' / 'oc_finder_example_RoiSet.zip'
    outlines = read_imagej(path, size_px=(1920, 1440))
    rois = roifile.roiread(path)
    assert [outline.name for outline in outlines] == [f'OC{number:02d}' for number in range(1, 14)]
    for outline, roi in zip(outlines, rois, strict=True):
        assert outline.geometry.equals_exact(Polygon(roi.coordinates()))


@pytest.mark.real
def test_real_set_survives_a_round_trip(shared_dir, tmp_path):
    outlines = read_imagej(shared_dir / 'data' / 'real_trap' / 'oc_finder_example_RoiSet.zip')
    write_imagej(tmp_path / 'again.zip', outlines)
    assert read_imagej(tmp_path / 'again.zip') == outlines


@pytest.mark.parametrize('roitype', [ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED])
def test_whole_numbered_vertices_are_pixel_corners(tmp_path, roitype):
    _vertices([[3, 4], [6, 4], [6, 6], [3, 6]], roitype).tofile(tmp_path / 'a.roi')
    (outline,) = read_imagej(tmp_path / 'a.roi')
    assert outline.geometry.equals(box(3, 4, 6, 6))


def test_rectangles(tmp_path):
    whole = _save(tmp_path / 'a.roi', roitype=ROI_TYPE.RECT, left=2, top=3, right=12, bottom=8)
    assert read_imagej(whole)[0].geometry.equals(box(2, 3, 12, 8))
    fine = _save(
        tmp_path / 'b.roi',
        roitype=ROI_TYPE.RECT,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
        xd=2.5,
        yd=3.25,
        widthd=10,
        heightd=5,
    )
    assert read_imagej(fine)[0].geometry.equals(box(2.5, 3.25, 12.5, 8.25))


def test_rounded_rectangle_lacks_its_corners(tmp_path):
    path = _save(tmp_path / 'a.roi', roitype=ROI_TYPE.RECT, left=0, top=0, right=30, bottom=20, rounded_rect_arc_size=8)
    geometry = read_imagej(path)[0].geometry
    assert geometry.bounds == (0, 0, 30, 20)
    assert geometry.area == pytest.approx(600 - (4 - np.pi) * 4**2, rel=1e-3)


def test_oval_has_the_area_of_the_ellipse(tmp_path):
    path = _save(tmp_path / 'a.roi', roitype=ROI_TYPE.OVAL, left=2, top=3, right=42, bottom=23)
    geometry = read_imagej(path)[0].geometry
    assert geometry.bounds == (2, 3, 42, 23)
    assert geometry.area == pytest.approx(np.pi * 20 * 10, rel=2e-4)
    fine = _save(
        tmp_path / 'b.roi',
        roitype=ROI_TYPE.OVAL,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
        xd=0.5,
        yd=0.5,
        widthd=3,
        heightd=3,
    )
    assert read_imagej(fine)[0].geometry.bounds == (0.5, 0.5, 3.5, 3.5)


def _composite(path, numbers):
    return _save(
        path,
        roitype=ROI_TYPE.RECT,
        multi_coordinates=np.array(numbers, dtype=np.float32),
        shape_roi_size=len(numbers),
        right=10,
        bottom=10,
    )


def _square_path(low, high):
    return [0, low, low, 1, high, low, 1, high, high, 1, low, high, 4]


def test_composite_is_filled_by_the_even_odd_rule(tmp_path):
    path = _composite(tmp_path / 'a.roi', _square_path(0, 9) + _square_path(3, 6) + _square_path(4, 5))
    assert read_imagej(path)[0].geometry.area == 81 - 9 + 1


def test_composite_curves(tmp_path):
    """A parabola and a cubic that is a raised straight line: areas known in closed form."""
    quadratic = _composite(tmp_path / 'a.roi', [0, 0, 0, 2, 5, 10, 10, 0, 4])
    assert read_imagej(quadratic)[0].geometry.area == pytest.approx(10 * 5 * 2 / 3, rel=1e-3)
    cubic = _composite(tmp_path / 'b.roi', [0, 0, 0, 3, 0, 8, 12, 8, 12, 0, 4])
    assert read_imagej(cubic)[0].geometry.area == pytest.approx(12 * 6 * 4 / 5, rel=1e-3)


@pytest.mark.parametrize(
    ('numbers', 'message'),
    [
        ([1, 0, 0, 1, 5, 5], 'damaged at number 0'),
        ([0, 0, 0, 1, 5], 'damaged at number 3'),
        ([0, 0, 0, 7, 1, 1], 'damaged at number 3'),
        ([0, 0, 0, 1, 5, 5, 4], 'encloses nothing'),
    ],
)
def test_damaged_composites_are_named(tmp_path, numbers, message):
    with pytest.raises(InputError, match=rf'a\.roi: a\.roi: .*{message}'):
        read_imagej(_composite(tmp_path / 'a.roi', numbers))


def test_composite_without_a_path(tmp_path):
    path = _composite(tmp_path / 'a.roi', _square_path(0, 9))
    data = bytearray(path.read_bytes())
    data[6] = ROI_TYPE.OVAL
    path.write_bytes(data)
    with pytest.raises(InputError, match='a composite without a path'):
        read_imagej(path)


def test_spline_fitted_circle(tmp_path):
    """Eight knots of a circle: their polygon has 90 % of its area, the spline nearly all."""
    angle = np.arange(8) * np.pi / 4
    knots = 50 + 40 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    roi = _vertices(knots, options=ROI_OPTIONS.SPLINE_FIT | ROI_OPTIONS.SUB_PIXEL_RESOLUTION)
    roi.tofile(tmp_path / 'a.roi')
    geometry = read_imagej(tmp_path / 'a.roi')[0].geometry
    assert geometry.area == pytest.approx(np.pi * 1600, rel=5e-3)


def test_spline_parameter_is_the_root_of_the_distance(tmp_path):
    knots = np.array([[0, 0], [90, 10], [100, 100], [20, 80]], dtype=np.float64)
    roi = _vertices(knots, options=ROI_OPTIONS.SPLINE_FIT | ROI_OPTIONS.SUB_PIXEL_RESOLUTION)
    roi.tofile(tmp_path / 'a.roi')
    geometry = read_imagej(tmp_path / 'a.roi')[0].geometry
    closed = np.vstack([knots, knots[:1]])
    time = np.r_[0, np.cumsum(np.sqrt(np.linalg.norm(np.diff(closed, axis=0), axis=1)))]
    curve = CubicSpline(time, closed, bc_type='periodic')(np.linspace(0, time[-1], 5000))
    assert geometry.symmetric_difference(Polygon(curve)).area < 1e-3 * geometry.area


@pytest.mark.parametrize(
    ('fields', 'what'),
    [
        ({'roitype': ROI_TYPE.LINE}, 'a straight line'),
        ({'roitype': ROI_TYPE.NOROI}, 'empty'),
        ({'roitype': ROI_TYPE.RECT, 'subtype': ROI_SUBTYPE.TEXT}, 'a text'),
        ({'roitype': ROI_TYPE.LINE, 'subtype': ROI_SUBTYPE.ARROW}, 'an arrow'),
    ],
)
def test_what_is_no_area_is_refused_by_name(tmp_path, fields, what):
    with pytest.raises(InputError, match=rf'a\.roi: a\.roi: is {what}, not an area'):
        read_imagej(_save(tmp_path / 'a.roi', **fields))


@pytest.mark.parametrize(
    ('roitype', 'what'),
    [
        (ROI_TYPE.POINT, 'a point'),
        (ROI_TYPE.ANGLE, 'an angle'),
        (ROI_TYPE.POLYLINE, 'a segmented line'),
        (ROI_TYPE.FREELINE, 'a freehand line'),
    ],
)
def test_what_is_no_area_in_a_zip_is_refused_by_name(tmp_path, roitype, what):
    rois = [_vertices([[0, 0], [5, 0], [5, 5]], name='cell'), _vertices([[1, 1], [2, 2], [3, 1]], roitype, name='mark')]
    roifile.roiwrite(tmp_path / 'a.zip', rois)
    with pytest.raises(InputError, match=rf'a\.zip: mark\.roi: is {what}, not an area'):
        read_imagej(tmp_path / 'a.zip')


def test_an_unknown_type_is_refused(tmp_path):
    path = _save(tmp_path / 'a.roi', roitype=ROI_TYPE.RECT, right=5, bottom=5)
    data = bytearray(path.read_bytes())
    data[6] = 77
    path.write_bytes(data)
    with pytest.raises(InputError, match='unknown type 77'):
        read_imagej(path)


def test_the_set_is_replaced_and_not_added_to(tmp_path):
    write_imagej(tmp_path / 'a.zip', [SQUARE, SQUARE, SQUARE])
    write_imagej(tmp_path / 'a.zip', [SQUARE])
    assert len(read_imagej(tmp_path / 'a.zip')) == 1


def test_lines_have_the_colour_of_their_class(tmp_path):
    outlines = [
        Outline(box(0, 0, 4, 4), label='a'),
        Outline(box(0, 0, 9, 9) - box(2, 2, 4, 4), label='a'),
        Outline(box(5, 5, 9, 9), label='b'),
    ]
    write_imagej(tmp_path / 'a.zip', outlines, position=1, colours={'a': (1, 2, 3)})
    rois = roifile.roiread(tmp_path / 'a.zip')
    assert [bytes(roi.stroke_color) for roi in rois] == [b'\xff\1\2\3', b'\xff\1\2\3', b'\0\0\0\0']
    assert [roi.position for roi in rois] == [1, 1, 1]
    assert [outline.label for outline in read_imagej(tmp_path / 'a.zip')] == ['a', 'a', 'b']


def test_the_same_outlines_give_the_same_bytes(tmp_path):
    write_imagej(tmp_path / 'a.zip', [SQUARE, SQUARE])
    write_imagej(tmp_path / 'b.zip', [SQUARE, SQUARE])
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'b.zip').read_bytes()


def test_names_and_entries_are_unique(tmp_path):
    names = ['a', 'a', 'A', '', 'x/y', 'x:y', 'Zelle \u00e4', '\U0001f9eb']
    write_imagej(tmp_path / 'a.zip', [Outline(SQUARE.geometry, name=name) for name in names], position=3)
    back = [outline.name for outline in read_imagej(tmp_path / 'a.zip')]
    assert back == ['a', 'a-1', 'A', '0004', 'x/y', 'x:y', 'Zelle \u00e4', '_']
    with zipfile.ZipFile(tmp_path / 'a.zip') as archive:
        entries = [name.lower() for name in archive.namelist()]
    assert len(set(entries)) == len(names)
    assert all(entry.endswith('.roi') and '/' not in entry for entry in entries)
    assert all(roi.position == 3 for roi in roifile.roiread(tmp_path / 'a.zip'))


def test_two_entries_of_one_name_are_both_read(tmp_path):
    small, large = (_vertices([[0, 0], [side, 0], [side, side]]).tobytes() for side in (4, 8))
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive, pytest.warns(UserWarning, match='Duplicate'):
        archive.writestr('cell.roi', small)
        archive.writestr('cell.roi', large)
    assert [outline.geometry.area for outline in read_imagej(tmp_path / 'a.zip')] == [8, 32]


def test_what_macos_adds_is_no_fault(tmp_path):
    write_imagej(tmp_path / 'a.zip', [SQUARE])
    with zipfile.ZipFile(tmp_path / 'a.zip', 'a') as archive:
        archive.writestr('__MACOSX/._0001.roi', b'junk')
        archive.writestr('.DS_Store', b'junk')
        archive.writestr('folder/', b'')
    assert len(read_imagej(tmp_path / 'a.zip')) == 1


def test_other_entries_are_faults(tmp_path):
    write_imagej(tmp_path / 'a.zip', [SQUARE])
    with zipfile.ZipFile(tmp_path / 'a.zip', 'a') as archive:
        archive.writestr('notes.txt', b'junk')
    with pytest.raises(InputError, match=r'a\.zip: notes\.txt: is not a \.roi entry'):
        read_imagej(tmp_path / 'a.zip')


def test_a_corrupt_entry_is_named(tmp_path):
    write_imagej(tmp_path / 'a.zip', [Outline(SQUARE.geometry, name='good'), Outline(SQUARE.geometry, name='bad')])
    data = bytearray((tmp_path / 'a.zip').read_bytes())
    start = data.index(b'bad.roi') + len(b'bad.roi')
    data[start + 20 : start + 30] = bytes(10)
    (tmp_path / 'a.zip').write_bytes(data)
    with pytest.raises(InputError, match=r'a\.zip: bad\.roi: damaged or encrypted entry') as caught:
        read_imagej(tmp_path / 'a.zip')
    assert 'good' not in str(caught.value)


@pytest.mark.parametrize('length', [0, 3, 63, 70])
def test_a_roi_cut_short_is_named(tmp_path, length):
    data = _vertices([[0, 0], [5, 0], [5, 5]]).tobytes()[:length]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('cell.roi', data)
    (tmp_path / 'a.zip').write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match=r'a\.zip: cell\.roi: not a whole ImageJ ROI'):
        read_imagej(tmp_path / 'a.zip')


def test_a_roi_of_two_points_has_no_area(tmp_path):
    _vertices([[0, 0], [5, 0]]).tofile(tmp_path / 'a.roi')
    with pytest.raises(InputError, match='fewer than three'):
        read_imagej(tmp_path / 'a.roi')


@pytest.mark.parametrize(('content', 'message'), [(b'PK\x03\x04', 'not a whole zip'), (b'', 'not a whole zip')])
def test_a_broken_zip_is_named(tmp_path, content, message):
    (tmp_path / 'a.zip').write_bytes(content)
    with pytest.raises(InputError, match=rf'a\.zip: {message}'):
        read_imagej(tmp_path / 'a.zip')


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(InputError, match='no such file'):
        read_imagej(tmp_path / 'a.zip')
    with pytest.raises(InputError, match='cannot be read'):
        read_imagej(tmp_path)


def test_an_outline_outside_the_image_is_named(tmp_path):
    write_imagej(tmp_path / 'a.zip', [Outline(box(500, 500, 600, 600), name='far')])
    with pytest.raises(InputError, match=r'a\.zip: far\.roi: lies outside the image of 400 x 300 px'):
        read_imagej(tmp_path / 'a.zip', size_px=(400, 300))


def test_rois_on_several_slices_are_reported(tmp_path, caplog):
    rois = [_vertices([[0, 0], [5, 0], [5, 5]], position=position) for position in (1, 2)]
    roifile.roiwrite(tmp_path / 'a.zip', rois)
    with caplog.at_level(logging.WARNING):
        assert len(read_imagej(tmp_path / 'a.zip')) == 2
    assert '2 slices' in caplog.text


def test_foreign_properties_are_no_scores(tmp_path):
    _vertices([[0, 0], [5, 0], [5, 5]], props='score: high\nclass: giant\n').tofile(tmp_path / 'a.roi')
    (outline,) = read_imagej(tmp_path / 'a.roi')
    assert (outline.score, outline.label) == (None, 'giant')


def test_write_refuses_other_suffixes_and_counts(tmp_path):
    with pytest.raises(InputError, match=r'\.roi or \.zip'):
        write_imagej(tmp_path / 'a.csv', [SQUARE])
    with pytest.raises(InputError, match='holds one ROI, not 2'):
        write_imagej(tmp_path / 'a.roi', [SQUARE, SQUARE])


def test_a_composite_says_so_in_its_header(tmp_path):
    """ImageJ's RoiDecoder: type 1 at byte 6, number of path values at byte 36."""
    write_imagej(tmp_path / 'a.roi', [Outline(MultiPolygon([box(0, 0, 1, 1), box(2, 2, 3, 3)]))])
    data = (tmp_path / 'a.roi').read_bytes()
    assert data[6] == 1
    assert struct.unpack('>i', data[36:40]) == (2 * (3 + 3 * 3 + 1),)


@pytest.mark.parametrize(
    ('name', 'label'),
    [
        ('pre-osteoclast_0007', 'pre-osteoclast'),
        ('osteoclast_0007', 'osteoclast'),
        ('Pre-Osteoclast 7', 'pre-osteoclast'),
        ('osteoclast_0007-1', 'osteoclast'),
        ('OC0007', 'other'),
        ('osteoclasts', 'other'),
    ],
)
def test_what_is_called_after_a_class_is_of_it(tmp_path, name, label):
    """As when a predicted cell is renamed in ImageJ: its property still says another class."""
    path = tmp_path / 'a.zip'
    write_imagej(path, [Outline(Polygon([(0, 0), (9, 0), (9, 9)]), name='x', label='other')])
    (roi,) = roifile.roiread(path)
    roi.name = name
    path.unlink()
    roifile.roiwrite(path, [roi])
    assert [outline.label for outline in read_imagej(path)] == [label]


def test_what_is_drawn_anew_keeps_the_class_of_its_name(tmp_path):
    """ImageJ's Update gives the new ROI the old name and no properties."""
    roi = ImagejRoi.frompoints([[0, 0], [9, 0], [9, 9]])
    roi.name = 'pre-osteoclast_0003'
    roi.tofile(tmp_path / 'a.roi')
    assert [outline.label for outline in read_imagej(tmp_path / 'a.roi')] == ['pre-osteoclast']


def test_outlines_added_to_those_of_the_only_slice_are_not_of_another(tmp_path, caplog):
    path = tmp_path / 'a.zip'
    write_imagej(path, [Outline(Polygon([(0, 0), (9, 0), (9, 9)]), name='a')], position=1)
    added = ImagejRoi.frompoints([[20, 20], [29, 20], [29, 29]])
    added.name = 'b'
    roifile.roiwrite(path, [added], mode='a')
    assert len(read_imagej(path)) == 2
    assert 'slices' not in caplog.text


# ROIs that ImageJ wrapped at 65,536 px


def whole_roi(path, kind, left, top, width, height):
    """A ROI in whole numbers, as ImageJ stores it: 16 bits, so that what lies beyond 32,767 px is negative."""
    roi = ImagejRoi(roitype=kind)
    roi.left, roi.right = ((value + 2**15) % 2**16 - 2**15 for value in (left, left + width))
    roi.top, roi.bottom = ((value + 2**15) % 2**16 - 2**15 for value in (top, top + height))
    if kind == ROI_TYPE.POLYGON:
        roi.integer_coordinates = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype='>i2')
        roi.n_coordinates = 4
    path.write_bytes(roi.tobytes())
    return path


@pytest.mark.parametrize('kind', [ROI_TYPE.RECT, ROI_TYPE.OVAL, ROI_TYPE.POLYGON])
@pytest.mark.parametrize(('left', 'top'), [(61000, 100), (100, 62000), (65000, 65400)])
def test_wrapped_rois_are_moved_back(tmp_path, kind, left, top):
    path, notes = whole_roi(tmp_path / 'a.roi', kind, left, top, 60, 40), []
    (outline,) = read_imagej(path, (70000, 70000), notes=notes)
    assert outline.geometry.bounds == pytest.approx((left, top, left + 60, top + 40))
    assert '1 ROIs had coordinates that ImageJ wrapped' in notes[0]


@pytest.mark.parametrize(('left', 'width_px'), [(61000, 60000), (61000, 61030), (61000, 2000)])
def test_rois_left_of_an_image_that_cannot_hold_them_lie_outside(tmp_path, left, width_px):
    path = whole_roi(tmp_path / 'a.roi', ROI_TYPE.RECT, left, 100, 60, 40)
    with pytest.raises(InputError, match='lies outside the image'):
        read_imagej(path, (width_px, 300))


def test_a_roi_over_the_border_may_have_been_wrapped(tmp_path):
    path = whole_roi(tmp_path / 'a.roi', ROI_TYPE.RECT, 65520, 100, 60, 40)
    with pytest.raises(InputError, match='reaches over the left border, or lies at 65,536 px'):
        read_imagej(path, (70000, 300))
    notes = []
    (outline,) = read_imagej(path, (60000, 300), notes=notes)  # here it can only be the border
    assert outline.geometry.bounds == (0, 100, 44, 140)
    assert 'cut off there' in notes[0]


def test_rois_stored_as_floats_are_never_wrapped(tmp_path):
    write_imagej(tmp_path / 'a.roi', [Outline(box(-3, 10, 40, 50))])
    (outline,) = read_imagej(tmp_path / 'a.roi', (70000, 300))
    assert outline.geometry.bounds == (0, 10, 40, 50)


# damage


def test_a_spline_with_far_vertices_is_refused_at_once(tmp_path):
    roi = ImagejRoi.frompoints(np.array([[0, 0], [1e7, 0], [1e7, 1e7], [3, 50]], dtype=np.float32))
    roi.options |= ROI_OPTIONS.SPLINE_FIT
    (tmp_path / 'a.roi').write_bytes(roi.tobytes())
    began = time.monotonic()
    with pytest.raises(InputError, match=r'a\.roi: .*px long'):
        read_imagej(tmp_path / 'a.roi')
    assert time.monotonic() - began < 2


def test_random_vertices_are_refused_before_they_take_minutes(tmp_path):
    points = np.random.default_rng(0).integers(0, 30000, (20000, 2)).astype(np.float32)
    (tmp_path / 'a.roi').write_bytes(ImagejRoi.frompoints(points).tobytes())
    began = time.monotonic()
    with pytest.raises(InputError, match='crosses itself too often'):
        read_imagej(tmp_path / 'a.roi')
    assert time.monotonic() - began < 5


def test_zips_with_a_damaged_directory(tmp_path):
    """Offsets that lead before the file, names that are no text, entries that claim to be huge."""
    write_imagej(tmp_path / 'a.zip', [Outline(box(0, 0, 9, 9), name='c')] * 3)
    data = (tmp_path / 'a.zip').read_bytes()
    directory = data.index(b'PK\x01\x02')
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(directory, len(data), 4):
            damaged[place] = rng.integers(256)
        (tmp_path / 'b.zip').write_bytes(damaged)
        with contextlib.suppress(InputError):
            read_imagej(tmp_path / 'b.zip')
    huge = bytearray(data)
    huge[directory + 24 : directory + 28] = (2**31).to_bytes(4, 'little')
    (tmp_path / 'b.zip').write_bytes(huge)
    with pytest.raises(InputError, match='too many for a ROI'):
        read_imagej(tmp_path / 'b.zip')
