import io
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from noise_mm.errors import InputError
from noise_mm.geometry.tiles import Window, window_grid
from noise_mm.slides import chunked, slide
from noise_mm.slides.resample import slide_thumbnail
from noise_mm.slides.slide import open_slide


@pytest.fixture(scope='module')
def texture():
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    return cv2.resize(noise, (700, 500), interpolation=cv2.INTER_CUBIC)


def whole(path):
    with open_slide(path) as opened:
        return opened.read(0, 0, opened.width_px, opened.height_px)


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.fixture
def tiled(tmp_path, texture):
    tifffile.imwrite(tmp_path / 'well.tif', texture, tile=(64, 96), compression='deflate', photometric='rgb')
    with open_slide(tmp_path / 'well.tif') as opened:
        yield opened


@pytest.fixture
def decoded(tiled, monkeypatch):
    """The chunks that are decoded, in order."""
    chunks = []
    original = tiled.decode_chunk
    monkeypatch.setattr(
        tiled, 'decode_chunk', lambda row, column: chunks.append((row, column)) or original(row, column)
    )
    return chunks


# windows, bands and thumbnails


def test_windows_are_crops_and_white_outside(tiled, texture):
    grid = [*window_grid(700, 500, 200, 100), Window(0, 0, -30, -20, 100, 90), Window(0, 0, 650, 450, 100, 100)]
    padded = np.pad(texture, ((100, 100), (100, 100), (0, 0)), constant_values=255)
    for window, pixels in zip(grid, tiled.windows(grid), strict=True):
        x, y = window.x + 100, window.y + 100
        np.testing.assert_array_equal(pixels, padded[y : y + window.height, x : x + window.width])
        np.testing.assert_array_equal(tiled.read(*window[2:]), pixels)


def test_a_window_outside_is_white(tiled):
    assert (tiled.read(5000, 0, 3, 2) == 255).all()


def test_each_chunk_is_decoded_once_however_windows_overlap(tiled, decoded):
    for _ in tiled.windows(window_grid(700, 500, 200, 60)):
        pass
    assert len(decoded) == len(set(decoded)) == 8 * 8


def test_chunks_that_no_window_needs_are_not_read(tiled, decoded):
    list(tiled.windows([Window(0, 0, 0, 0, 50, 50), Window(0, 1, 600, 400, 100, 100)]))
    assert set(decoded) == {(0, 0), (6, 6), (7, 6), (6, 7), (7, 7)}


def test_overlapping_bands_decode_each_chunk_once(tiled, decoded, texture):
    spans = [(0, 150), (100, 250), (200, 350), (350, 500)]
    bands = [Window(row, 0, 0, first, tiled.width_px, end - first) for row, (first, end) in enumerate(spans)]
    for (first, end), band in zip(spans, tiled.windows(bands), strict=True):
        np.testing.assert_array_equal(band, texture[first:end])
    assert len(decoded) == len(set(decoded)) == 8 * 8


def test_neighbouring_reads_share_chunks_within_the_cache(tiled, decoded, monkeypatch):
    tiled.read(0, 0, 96, 64)
    tiled.read(10, 10, 20, 20)
    assert decoded == [(0, 0)]
    monkeypatch.setattr(chunked, 'CACHE_BYTES', 2 * 64 * 96 * 3)
    for x in (96, 192, 0):
        tiled.read(x, 0, 5, 5)
    assert decoded == [(0, 0), (0, 1), (0, 2), (0, 0)]


@pytest.mark.parametrize('window', [(0, 0, 0, 5), (0, 0, 5, -1)])
def test_empty_windows_are_refused(tiled, window):
    with pytest.raises(ValueError, match='empty'):
        tiled.read(*window)


@pytest.mark.parametrize(('max_side_px', 'shape'), [(350, (250, 350)), (70, (50, 70)), (5000, (500, 700))])
def test_thumbnails(tiled, texture, max_side_px, shape):
    small = slide_thumbnail(tiled, max_side_px)
    assert small.shape == (*shape, 3)
    expected = cv2.resize(texture, shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).max() <= 1


# PNG and JPEG


def test_png_modes(tmp_path, texture):
    image = Image.fromarray(texture)
    grey = np.asarray(image.convert('L'))
    cases = {
        'rgb': (image, texture),
        'grey': (image.convert('L'), np.repeat(grey[..., None], 3, 2)),
        'palette': (image.quantize(32), np.asarray(image.quantize(32).convert('RGB'))),
        'bilevel': (image.convert('1'), np.asarray(image.convert('1').convert('RGB'))),
        'sixteen': (Image.fromarray(grey.astype(np.uint16) << 8), np.repeat(grey[..., None], 3, 2)),
    }
    for name, (saved_image, expected) in cases.items():
        np.testing.assert_array_equal(whole(saved(tmp_path / f'{name}.png', saved_image)), expected, err_msg=name)


def test_transparent_png_is_laid_on_white(tmp_path, texture):
    rgba = np.dstack([texture, np.zeros(texture.shape[:2], np.uint8)])
    rgba[:100, :, 3] = 255
    pixels = whole(saved(tmp_path / 'a.png', Image.fromarray(rgba)))
    np.testing.assert_array_equal(pixels[:100], texture[:100])
    assert (pixels[100:] == 255).all()


@pytest.mark.parametrize('progressive', [False, True])
def test_jpeg_is_decoded_as_pillow_does(tmp_path, texture, progressive):
    path = saved(tmp_path / 'a.jpg', Image.fromarray(texture), quality=90, progressive=progressive)
    assert np.abs(whole(path).astype(int) - np.asarray(Image.open(path))).max() <= 2


def test_a_grey_jpeg(tmp_path, texture):
    path = saved(tmp_path / 'a.jpeg', Image.fromarray(texture).convert('L'))
    assert whole(path).shape == texture.shape


def test_camera_orientation_is_not_applied(tmp_path, texture):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert whole(saved(tmp_path / 'a.jpg', Image.fromarray(texture), exif=exif)).shape == texture.shape


def test_the_content_decides_not_the_name(tmp_path, texture):
    path = saved(tmp_path / 'really_png.tif', Image.fromarray(texture), format='PNG')
    np.testing.assert_array_equal(whole(path), texture)


def test_a_png_states_its_resolution_if_it_is_a_microscopes(tmp_path, texture):
    image = Image.fromarray(texture)
    for dots_per_inch, expected in ((25400 / 0.5, 0.5), (300, None)):
        with open_slide(saved(tmp_path / 'a.png', image, dpi=(dots_per_inch, dots_per_inch))) as opened:
            assert opened.mpp == (pytest.approx(expected, rel=1e-3) if expected else None)


def test_a_well_larger_than_pillows_limit(tmp_path, monkeypatch, texture):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)  # Pillow raises above twice that
    np.testing.assert_array_equal(whole(saved(tmp_path / 'a.png', Image.fromarray(texture))), texture)


def test_an_image_too_large_to_be_decoded_whole_is_refused(tmp_path, monkeypatch, texture):
    monkeypatch.setattr(slide, 'LARGEST_UNTILED_PX', 700 * 500 - 1)
    with pytest.raises(InputError, match=r'a\.png: 700 x 500 px is too large.*as a TIFF, in strips or tiles'):
        open_slide(saved(tmp_path / 'a.png', Image.fromarray(texture)))


@pytest.mark.parametrize('options', [{'format': 'PNG'}, {'format': 'JPEG'}, {'format': 'JPEG', 'progressive': True}])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.99])
def test_half_a_file_is_never_half_an_image(tmp_path, texture, options, share):
    content = io.BytesIO()
    Image.fromarray(texture).save(content, **options)
    path = tmp_path / 'half.img'
    path.write_bytes(content.getvalue()[: int(len(content.getvalue()) * share)])
    with pytest.raises(InputError, match=r'half\.img: the file is truncated'):
        open_slide(path)


def test_a_truncated_jpeg_with_a_preview_inside(tmp_path, texture):
    """The preview in the header is a whole JPEG with an end marker of its own."""
    preview = io.BytesIO()
    Image.fromarray(texture[::10, ::10].copy()).save(preview, 'JPEG')
    exif = b'Exif\0\0' + preview.getvalue()
    path = saved(tmp_path / 'a.jpg', Image.fromarray(texture), exif=exif)
    assert whole(path).shape == texture.shape
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match='truncated'):
        open_slide(path)


def test_damage_inside_a_png_is_found_on_reading(tmp_path, texture):
    path = saved(tmp_path / 'a.png', Image.fromarray(texture))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(data)
    with open_slide(path) as opened, pytest.raises(InputError, match=r'a\.png: damaged'):
        opened.read(0, 0, 5, 5)


def test_a_file_replaced_while_open_is_noticed(tmp_path, texture):
    path = saved(tmp_path / 'a.png', Image.fromarray(texture))
    with open_slide(path) as opened:
        saved(path, Image.fromarray(texture[:400]))
        with pytest.raises(InputError, match='not as large as its header says'):
            opened.read(0, 0, 5, 5)


# files that are no wells


def test_refused_kinds(tmp_path, texture):
    image = Image.fromarray(texture)
    saved(tmp_path / 'cmyk.jpg', image.convert('CMYK'))
    image.save(tmp_path / 'film.png', save_all=True, append_images=[image.transpose(0)])
    for name, reason in (('cmyk.jpg', 'colour mode CMYK'), ('film.png', 'holds 2 images')):
        with pytest.raises(InputError, match=f'{name}: {reason}'):
            open_slide(tmp_path / name)


def test_a_damaged_header(tmp_path):
    (tmp_path / 'a.png').write_bytes(slide.PNG_SIGNATURE + b'nonsense' * 9 + slide.PNG_END)
    with pytest.raises(InputError, match=r'a\.png: the image header is damaged'):
        open_slide(tmp_path / 'a.png')


@pytest.mark.parametrize('content', [b'', b'x', b'Some notes on the culture.\n', b'GIF89a' + bytes(100)])
def test_text_and_other_files_are_named(tmp_path, content):
    (tmp_path / 'notes.tif').write_bytes(content)
    with pytest.raises(InputError, match=r'notes\.tif: not an image of a known format'):
        open_slide(tmp_path / 'notes.tif')


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match=r'none\.tif: no such file'):
        open_slide(tmp_path / 'none.tif')
    with pytest.raises(InputError, match='cannot be read'):
        open_slide(tmp_path)


# size, shape and orientation of pixels


def exif_of(**tags):
    exif = Image.Exif()
    for code, value in {274: tags.get('orientation'), 282: tags.get('x'), 283: tags.get('y'), 296: 3}.items():
        if value is not None:
            exif[code] = value
    return exif


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('a.png', {'dpi': (50800, 25400)}),
        ('a.jpg', {'dpi': (50800, 25400)}),
        ('a.png', {'dpi': (72, 144)}),
        ('a.jpg', {'exif': exif_of(x=20000.0, y=10000.0)}),
    ],
)
def test_oblong_pixels_are_refused(tmp_path, texture, name, options):
    with pytest.raises(InputError, match=rf'{name}: pixels are not square'):
        open_slide(saved(tmp_path / name, Image.fromarray(texture), **options))


def test_shapes_without_a_unit_are_refused_too(tmp_path, texture):
    """Byte 8 of a pHYs chunk, and byte 13 of a JPEG, is the unit: 0 says that only the shape of pixels is meant."""
    for name, dots_per_inch, marker, at in (('a.png', (50800, 25400), b'pHYs', 12), ('a.jpg', (200, 100), b'JFIF', 7)):
        data = bytearray(saved(tmp_path / name, Image.fromarray(texture), dpi=dots_per_inch).read_bytes())
        place = data.index(marker)
        data[place + at] = 0
        if name == 'a.png':  # length, kind and content of the chunk are followed by their checksum
            data[place + 13 : place + 17] = zlib.crc32(data[place : place + 13]).to_bytes(4, 'big')
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f'{name}: pixels are not square'):
            open_slide(tmp_path / name)


def test_sizes_that_contradict_each_other(tmp_path, texture):
    path = saved(tmp_path / 'a.jpg', Image.fromarray(texture), dpi=(50800, 50800), exif=exif_of(x=10000.0, y=10000.0))
    with open_slide(path) as opened, pytest.raises(InputError, match=r'0\.5 um \(resolution\) and 1 um \(EXIF\)'):
        _ = opened.mpp


@pytest.mark.parametrize('name', ['a.png', 'a.jpg'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 9])
def test_the_orientation_is_known_and_not_applied(tmp_path, texture, name, orientation):
    path = saved(tmp_path / name, Image.fromarray(texture), exif=exif_of(orientation=orientation))
    with open_slide(path) as opened:
        assert opened.orientation == (orientation if orientation < 9 else 1)
        assert (opened.width_px, opened.height_px) == (700, 500)
