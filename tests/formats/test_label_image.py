import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from shapely import box

from noise_mm.errors import InputError
from noise_mm.formats.label_image import read_label_image, write_label_image
from noise_mm.geometry.outline import Outline, parts_of
from noise_mm.geometry.pixels import fill_pixels, trace

LABELS = np.zeros((300, 200), np.uint16)
LABELS[10:50, 20:60] = 3
LABELS[20:30, 30:40] = 0
LABELS[100:200, 100:150] = 9
LABELS[250:260, 0:200] = 9

LAYOUTS = {
    'one strip': {},
    'strips': {'rowsperstrip': 7, 'compression': 'lzw'},
    'tiles': {'tile': (64, 64)},
    'deflate': {'tile': (64, 128), 'compression': 'zlib', 'predictor': True},
}


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.uint32, np.int32, np.float32])
def test_labels_are_traced(tmp_path, layout, dtype):
    path = tmp_path / 'labels.tif'
    tifffile.imwrite(path, LABELS.astype(dtype), **LAYOUTS[layout])
    three, nine = read_label_image(path, size_px=(200, 300))
    assert (three.name, nine.name) == ('3', '9')
    assert three.geometry.equals(box(20, 10, 60, 50) - box(30, 20, 40, 30))
    assert [part.area for part in parts_of(nine.geometry)] == [5000, 2000]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(labels=arrays(np.uint16, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 3)))
def test_each_outline_is_the_trace_of_its_label(tmp_path, labels):
    path = tmp_path / 'labels.tif'
    tifffile.imwrite(path, labels, tile=(16, 16))
    one_value = len(set(labels.ravel().tolist()) - {0}) == 1  # which may be a mask, see below
    outlines = {} if one_value else {o.name: o.geometry for o in read_label_image(path)}
    for value in outlines:
        assert outlines[value].equals(trace(labels == int(value)))
    assert not outlines or set(outlines) == {str(value) for value in np.unique(labels) if value}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data())
def test_written_labels_are_the_pixels_of_the_outlines(data, tmp_path, geometries):
    """Placed so that they cross the borders of tiles."""
    geometry = data.draw(geometries)
    moved = [Outline(geometry), Outline(type(geometry)(geometry) if geometry.is_empty else _moved(geometry, 300, 260))]
    path = tmp_path / 'labels.tif'
    write_label_image(path, moved, (650, 600))
    expected = np.zeros((600, 650), np.uint16)
    for number, outline in enumerate(moved, start=1):
        expected[fill_pixels(outline.geometry, 0, 0, 650, 600)] = number
    np.testing.assert_array_equal(tifffile.imread(path), expected)


def _moved(geometry, x, y):
    from shapely import affinity

    return affinity.translate(geometry, x, y)


def test_round_trip_of_whole_pixels(tmp_path):
    outlines = [
        Outline(box(3, 4, 600, 10), name='1'),
        Outline(box(500, 505, 530, 520) - box(510, 510, 515, 515), name='2'),
    ]
    write_label_image(tmp_path / 'a.tif', outlines, (700, 600))
    back = read_label_image(tmp_path / 'a.tif', (700, 600))
    assert all(one.geometry.equals(other.geometry) for one, other in zip(outlines, back, strict=True))
    assert [outline.name for outline in back] == ['1', '2']


def test_file_is_deflate_without_predictor(tmp_path):
    write_label_image(tmp_path / 'a.tif', [Outline(box(3, 4, 60, 10))], (700, 600), um_per_px=0.5)
    with tifffile.TiffFile(tmp_path / 'a.tif') as tiff:
        page = tiff.pages[0]
        assert not page.is_tiled and page.dtype == np.uint16
        assert 322 not in page.tags and 323 not in page.tags  # ImageJ looks for TileWidth and refuses such files
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.predictor == tifffile.PREDICTOR.NONE
        assert page.tags['ResolutionUnit'].value == tifffile.RESUNIT.CENTIMETER
        assert page.tags['XResolution'].value == (20000, 1)


@pytest.mark.slow
def test_many_outlines_need_32_bits(tmp_path):
    outlines = [Outline(box(i % 300, i // 300, i % 300 + 1, i // 300 + 1)) for i in range(2**16)]
    write_label_image(tmp_path / 'a.tif', outlines, (300, 220))
    labels = tifffile.imread(tmp_path / 'a.tif')
    assert labels.dtype == np.uint32
    assert labels.max() == 2**16


def test_what_lies_outside_is_cut_off_and_later_outlines_cover_earlier(tmp_path):
    outlines = [Outline(box(-5, -5, 6, 6)), Outline(box(4, 4, 30, 30)), Outline(box(50, 50, 60, 60))]
    write_label_image(tmp_path / 'a.tif', outlines, (10, 8))
    labels = tifffile.imread(tmp_path / 'a.tif')
    assert labels.shape == (8, 10)
    assert (labels[:4, :6] == 1).all() and (labels[4:, 4:] == 2).all()


def test_smaller_outlines_lie_on_top(tmp_path):
    outlines = [Outline(box(2, 2, 4, 4)), Outline(box(0, 0, 9, 9)), Outline(box(3, 2, 5, 4))]
    write_label_image(tmp_path / 'a.tif', outlines, (9, 9), smaller_on_top=True)
    labels = tifffile.imread(tmp_path / 'a.tif')
    assert np.bincount(labels.ravel()).tolist() == [0, 4, 75, 2]  # of equally large ones the first is seen whole


def test_an_empty_image_has_no_outline(tmp_path):
    write_label_image(tmp_path / 'a.tif', [], (30, 20))
    assert read_label_image(tmp_path / 'a.tif') == []


@pytest.mark.parametrize('value', [1, 128, 255, 65535])
def test_a_mask_of_many_cells_is_refused(tmp_path, value):
    tifffile.imwrite(tmp_path / 'a.tif', (LABELS > 0).astype(np.uint16) * np.uint16(value))
    with pytest.raises(InputError, match=r'a\.tif: all cells have the same value'):
        read_label_image(tmp_path / 'a.tif')


@pytest.mark.parametrize(
    ('pixels', 'message'),
    [
        (np.zeros((20, 20, 3), np.uint8), 'has 3 channels'),
        (np.full((20, 20), 0.5, np.float32), 'not whole numbers'),
        (np.full((20, 20), np.nan, np.float32), 'not whole numbers'),
        (np.full((20, 20), -1, np.int16), 'negative values'),
        (np.zeros((20, 20), np.complex64), 'type complex64'),
    ],
)
def test_what_holds_no_labels_is_refused(tmp_path, pixels, message):
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb' if pixels.ndim == 3 else 'minisblack')
    with pytest.raises(InputError, match=rf'a\.tif: .*{message}'):
        read_label_image(tmp_path / 'a.tif')


def test_another_size_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', LABELS)
    with pytest.raises(InputError, match='has 200 x 300 px, but its image 2000 x 3000 px'):
        read_label_image(tmp_path / 'a.tif', size_px=(2000, 3000))


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, layout, share):
    path = tmp_path / 'a.tif'
    noisy = np.random.default_rng(0).integers(1, 900, (300, 200)).astype(np.uint16)
    tifffile.imwrite(path, noisy, **LAYOUTS[layout])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r'a\.tif: not a whole TIFF'):
        read_label_image(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match='no such file'):
        read_label_image(tmp_path / 'a.tif')


# several pages, PNG


def pages(*areas, values=None):
    """One page (30, 40) for each (x0, y0, x1, y1)."""
    stack = np.zeros((len(areas), 30, 40), np.uint8)
    for page, (x0, y0, x1, y1) in enumerate(areas):
        stack[page, y0:y1, x0:x1] = 255 if values is None else values[page]
    return stack


OVERLAPPING = ((2, 2, 12, 12), (8, 8, 20, 20), (30, 5, 38, 9))


@pytest.mark.parametrize('imagej', [True, False])
@pytest.mark.parametrize('values', [None, (1, 2, 3), (1, 1, 1)])
def test_a_page_for_each_cell(tmp_path, imagej, values):
    """What ImageJ makes of a stack of masks; cells may overlap."""
    tifffile.imwrite(tmp_path / 'a.tif', pages(*OVERLAPPING, values=values), imagej=imagej, photometric='minisblack')
    notes = []
    outlines = read_label_image(tmp_path / 'a.tif', (40, 30), notes=notes)
    assert [outline.geometry.bounds for outline in outlines] == list(OVERLAPPING)
    assert [outline.name for outline in outlines] == ['1', '2', '3']
    assert notes == ['3 pages: each is taken for one cell']


def test_channels_with_labels_of_their_own(tmp_path):
    stack = pages((2, 2, 12, 12), (30, 5, 38, 9), values=(1, 4))
    stack[0, 20:25, 2:9], stack[1, 20:25, 30:35] = 3, 5
    tifffile.imwrite(tmp_path / 'a.tif', stack, imagej=True, metadata={'axes': 'CYX'})
    assert [outline.name for outline in read_label_image(tmp_path / 'a.tif')] == ['1', '3', '4', '5']


def test_empty_pages_are_counted(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', pages((2, 2, 12, 12), (0, 0, 0, 0)), photometric='minisblack')
    notes = []
    assert len(read_label_image(tmp_path / 'a.tif', notes=notes)) == 1
    assert notes == ['2 pages, 1 of them empty: each is taken for one cell']


def _two_labels_each():
    stack = pages((2, 2, 12, 12), (3, 3, 13, 13), values=(1, 1))
    stack[:, 20:25, 20:30] = 2
    return stack


def _two_parts():
    stack = pages(*OVERLAPPING)
    stack[1, 25:28, 30:35] = 255
    return stack


@pytest.mark.parametrize(
    ('stack', 'options', 'message'),
    [
        (_two_labels_each(), {}, '2 pages with several labels each, some of the same number'),
        (_two_parts(), {}, 'all cells have the same value'),
        (pages(OVERLAPPING[0], OVERLAPPING[0]), {}, 'pages 1 and 2 are the same'),
        (pages(*OVERLAPPING), {'imagej': True, 'metadata': {'axes': 'TYX'}}, '3 time points'),
    ],
)
def test_pages_that_do_not_fit_together_are_refused(tmp_path, stack, options, message):
    tifffile.imwrite(tmp_path / 'a.tif', stack, photometric='minisblack', **options)
    with pytest.raises(InputError, match=message):
        read_label_image(tmp_path / 'a.tif')


def test_pages_of_another_size_and_levels(tmp_path):
    labels = pages((2, 2, 12, 12))[0]
    with tifffile.TiffWriter(tmp_path / 'a.tif') as tiff:
        tiff.write(labels)
        tiff.write(labels[::2, ::2], subfiletype=1)
    notes = []
    assert len(read_label_image(tmp_path / 'a.tif', (40, 30), notes=notes)) == 1
    assert notes == ['1 smaller levels are not read']
    with tifffile.TiffWriter(tmp_path / 'b.tif') as tiff:
        tiff.write(labels)
        tiff.write(labels[::2, ::2])
    with pytest.raises(InputError, match='has 20 x 15 px, but its image 40 x 30 px'):
        read_label_image(tmp_path / 'b.tif', (40, 30))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_png_labels(tmp_path, dtype):
    """As Cellpose writes `_cp_masks.png`."""
    labels = pages((2, 2, 12, 12))[0].astype(dtype)
    labels[20:25, 20:30] = np.iinfo(dtype).max - 1
    (tmp_path / 'a_cp_masks.png').write_bytes(imagecodecs.png_encode(labels))
    outlines = read_label_image(tmp_path / 'a_cp_masks.png', (40, 30))
    assert [outline.geometry.area for outline in outlines] == ([50, 100] if dtype == np.uint8 else [100, 50])
    with pytest.raises(InputError, match='has 40 x 30 px, but its image 30 x 40 px'):
        read_label_image(tmp_path / 'a_cp_masks.png', (30, 40))
    (tmp_path / 'b.png').write_bytes(imagecodecs.png_encode(np.zeros((30, 40, 3), np.uint8)))
    with pytest.raises(InputError, match='3 channels'):
        read_label_image(tmp_path / 'b.png')


# what others make of the files that are written


@pytest.mark.parametrize('side', [700, 900])
def test_large_images_are_tiled(tmp_path, monkeypatch, side):
    monkeypatch.setattr('noise_mm.formats.label_image.LARGEST_IMAGEJ_PX', 800)
    outline = Outline(box(500, 505, 530, 520))
    write_label_image(tmp_path / 'a.tif', [outline], (side, 600))
    with tifffile.TiffFile(tmp_path / 'a.tif') as tiff:
        assert tiff.pages[0].is_tiled == (side > 800)
    assert read_label_image(tmp_path / 'a.tif')[0].geometry.equals(outline.geometry)


IMAGEJ = Path('/usr/share/java/ij.jar')
PROGRAM = """
public class Look {
    public static void main(String[] file) {
        var image = new ij.io.Opener().openTiff(file[0], file[1]);
        System.out.println(image.getWidth() + " " + image.getHeight() + " " + image.getBitDepth());
        var pixels = image.getProcessor();
        System.out.println(pixels.get(5, 6) + " " + pixels.get(605, 515) + " " + pixels.get(0, 0));
        System.out.println(pixels.get(699, 599));
    }
}
"""


@pytest.mark.skipif(
    not (IMAGEJ.exists() and shutil.which('javac')),
    reason='needs ImageJ and a JDK',
)
def test_imagej_opens_the_file(tmp_path):
    outlines = [Outline(box(3, 4, 600, 10)), Outline(box(600, 505, 630, 520)), Outline(box(690, 590, 700, 600))]
    write_label_image(tmp_path / 'a.tif', outlines, (700, 600), um_per_px=0.5)
    (tmp_path / 'Look.java').write_text(PROGRAM)
    command = ['java', '-Djava.awt.headless=true', '-cp', IMAGEJ, tmp_path / 'Look.java', f'{tmp_path}/', 'a.tif']
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.split() == ['700', '600', '16', '1', '2', '0', '3'], result.stdout + result.stderr


def test_a_background_that_is_not_0_is_noted(tmp_path):
    labels = np.full((60, 80), 255, np.uint8)
    labels[10:20, 10:20], labels[30:40, 10:20] = 1, 2
    tifffile.imwrite(tmp_path / 'a.tif', labels)
    notes = []
    assert len(read_label_image(tmp_path / 'a.tif', (80, 60), notes=notes)) == 3
    assert notes == ['the value 255 covers more than half of the image; only 0 is background']


def test_an_animated_png_is_refused(tmp_path):
    frames = [Image.fromarray(np.eye(20, dtype=np.uint8) * value) for value in (1, 2)]
    frames[0].save(tmp_path / 'a.png', save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r'a\.png: is an animation of 2 pictures'):
        read_label_image(tmp_path / 'a.png')


@pytest.mark.parametrize('tag', ['TileWidth', 'TileLength'])
def test_absurd_tiles_are_refused_before_they_are_decoded(tmp_path, tag):
    tifffile.imwrite(tmp_path / 'a.tif', LABELS, tile=(16, 16), compression='zlib')
    with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+b') as tiff:
        tiff.pages[0].tags[tag].overwrite(2**31, dtype='I')
    with pytest.raises(InputError, match=r'a\.tif: '):
        read_label_image(tmp_path / 'a.tif')
