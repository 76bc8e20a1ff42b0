import io
import itertools
import struct

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from noise_mm.errors import InputError
from noise_mm.geometry.tiles import window_grid
from noise_mm.slides import tiff
from noise_mm.slides.resample import slide_thumbnail
from noise_mm.slides.slide import open_slide

LAYOUTS = {'tiles': {'tile': (64, 80)}, 'strips': {'rowsperstrip': 7}, 'thick': {'rowsperstrip': 90}, 'one strip': {}}


@pytest.fixture(scope='module')
def texture():
    noise = np.random.default_rng(0).integers(0, 256, (25, 30, 3)).astype(np.uint8)
    return cv2.resize(noise, (450, 333), interpolation=cv2.INTER_CUBIC)


def whole(path):
    with open_slide(path) as slide:
        return slide.read(0, 0, slide.width_px, slide.height_px)


def ycbcr(rgb):
    return np.ascontiguousarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]])


def grey_as_rgb(grey):
    return np.repeat(grey[..., None], 3, axis=2)


# layouts and samples; tifffile's own reader is the reference for compressed ones


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('compression', [None, 'deflate', 'lzw', 'zstd', 'packbits'])
@pytest.mark.parametrize('planarconfig', ['contig', 'separate'])
def test_lossless_layouts(tmp_path, texture, layout, compression, planarconfig):
    data = texture if planarconfig == 'contig' else np.ascontiguousarray(texture.transpose(2, 0, 1))
    options = {**LAYOUTS[layout], 'compression': compression, 'planarconfig': planarconfig, 'photometric': 'rgb'}
    tifffile.imwrite(tmp_path / 'a.tif', data, **options)
    np.testing.assert_array_equal(whole(tmp_path / 'a.tif'), texture)


@pytest.mark.parametrize('predictor', [True, False])
@pytest.mark.parametrize('byteorder', ['<', '>'])
@pytest.mark.parametrize('bigtiff', [True, False])
def test_byte_orders_predictors_and_bigtiff(tmp_path, texture, predictor, byteorder, bigtiff):
    sixteen = texture.astype(np.uint16) * 257
    for tile, compression in itertools.product((None, (64, 64)), (None, 'deflate')):
        options = {'tile': tile, 'compression': compression, 'photometric': 'rgb'}
        options['predictor'] = predictor if compression else None
        tifffile.imwrite(tmp_path / 'a.tif', sixteen, byteorder=byteorder, bigtiff=bigtiff, **options)
        np.testing.assert_array_equal(whole(tmp_path / 'a.tif'), texture)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('subsampling', [(1, 1), (2, 2)])
def test_jpeg_in_ycbcr(tmp_path, texture, layout, subsampling):
    options = {'compression': 'jpeg', 'photometric': 'ycbcr', 'compressionargs': {'level': 95}}
    tifffile.imwrite(tmp_path / 'a.tif', ycbcr(texture), subsampling=subsampling, **options, **LAYOUTS[layout])
    np.testing.assert_array_equal(whole(tmp_path / 'a.tif'), tifffile.imread(tmp_path / 'a.tif'))
    assert np.abs(whole(tmp_path / 'a.tif').astype(int) - texture).mean() < 3


def test_jpeg_written_by_libtiff_with_shared_tables(tmp_path, texture):
    """Pillow writes through libtiff, whose tables lie in a tag of their own."""
    Image.fromarray(texture).save(tmp_path / 'a.tif', compression='jpeg', quality=90)
    reference = np.asarray(Image.open(tmp_path / 'a.tif').convert('RGB'))
    assert np.abs(whole(tmp_path / 'a.tif').astype(int) - reference).max() <= 4


def test_ycbcr_without_jpeg(tmp_path, texture):
    tifffile.imwrite(tmp_path / 'a.tif', ycbcr(texture), photometric='rgb', compression='deflate')
    data = bytearray((tmp_path / 'a.tif').read_bytes())
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        offset = file.pages[0].tags[262].valueoffset  # PhotometricInterpretation
    data[offset : offset + 2] = struct.pack('<H', 6)
    (tmp_path / 'a.tif').write_bytes(_with_tag(data, 530, (1, 1)))
    assert np.abs(whole(tmp_path / 'a.tif').astype(int) - texture).max() <= 4


def _with_tag(data, code, shorts):
    """A little-endian TIFF whose first directory is rewritten at the end with one more tag of two SHORTs."""
    first = struct.unpack_from('<I', data, 4)[0]
    count = struct.unpack_from('<H', data, first)[0]
    entries = [bytes(data[first + 2 + 12 * index : first + 14 + 12 * index]) for index in range(count)]
    entries.append(struct.pack('<HHIHH', code, 3, 2, *shorts))
    entries.sort(key=lambda entry: struct.unpack_from('<H', entry)[0])
    data = bytearray(data)
    struct.pack_into('<I', data, 4, len(data))
    return data + struct.pack('<H', len(entries)) + b''.join(entries) + bytes(4)


def test_aperio_jpeg2000_in_ycbcr(tmp_path, texture):
    samples = ycbcr(texture)
    tiles = [
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(samples[y : y + 64, x : x + 64]), codecformat='j2k', mct=False, level=0
        )
        for y in range(0, 320, 64)
        for x in range(0, 448, 64)
    ]
    tifffile.imwrite(
        tmp_path / 'a.svs', iter(tiles), shape=(320, 448, 3), dtype=np.uint8, tile=(64, 64), photometric='rgb',
        compression=tiff.APERIO_JPEG2000_YCBCR,
    )  # fmt: skip
    assert np.abs(whole(tmp_path / 'a.svs').astype(int) - texture[:320, :448]).max() <= 5


def test_grey_and_inverted_grey(tmp_path, texture):
    grey = texture[..., 0]
    tifffile.imwrite(tmp_path / 'a.tif', grey, photometric='minisblack', tile=(64, 64))
    np.testing.assert_array_equal(whole(tmp_path / 'a.tif'), grey_as_rgb(grey))
    tifffile.imwrite(tmp_path / 'a.tif', grey, photometric='miniswhite', compression='deflate')
    np.testing.assert_array_equal(whole(tmp_path / 'a.tif'), grey_as_rgb(255 - grey))


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'LA', 'RGBA', 'I;16'])
def test_modes_that_pillow_writes(tmp_path, texture, mode):
    image = Image.fromarray(texture)
    if mode == 'I;16':
        image = Image.fromarray(texture[..., 1].astype(np.uint16) << 8)
        expected = grey_as_rgb(texture[..., 1])
    else:
        image = image.convert(mode)
        expected = np.asarray(image.convert('RGB'))
    image.save(tmp_path / 'a.tif', compression='tiff_adobe_deflate')
    np.testing.assert_array_equal(whole(tmp_path / 'a.tif'), expected)


@pytest.mark.parametrize(('extrasample', 'expected'), [('unassalpha', 155), ('assocalpha', 199), ('unspecified', 100)])
def test_the_fourth_sample(tmp_path, extrasample, expected):
    """100 on white at 164/255: 100 * 0.643 + 255 * 0.357 = 155; premultiplied, 100 + 91 = 191."""
    rgba = np.full((40, 50, 4), 100, np.uint8)
    rgba[..., 3] = 164
    expected = 191 if extrasample == 'assocalpha' else expected
    tifffile.imwrite(tmp_path / 'a.tif', rgba, photometric='rgb', extrasamples=[extrasample])
    assert set(whole(tmp_path / 'a.tif').ravel().tolist()) == {expected}


def test_thin_strips_are_grouped_but_decoded_once(tmp_path, texture, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', texture, rowsperstrip=1, compression='deflate', photometric='rgb')
    segments = []
    original = tiff.TiffSlide._segment
    monkeypatch.setattr(tiff.TiffSlide, '_segment', lambda self, index: segments.append(index) or original(self, index))
    with open_slide(tmp_path / 'a.tif') as slide:
        assert slide.chunk_height_px == tiff.SMALLEST_CHUNK_ROWS
        for _ in slide.windows(window_grid(450, 333, 100, 50)):
            pass
    assert sorted(segments) == list(range(333))


def test_an_uncompressed_strip_is_read_in_rows(tmp_path, texture):
    """ImageJ writes the whole image as one strip; it need not be read whole."""
    tifffile.imwrite(tmp_path / 'a.tif', texture, imagej=True)
    with open_slide(tmp_path / 'a.tif') as slide:
        assert slide.chunk_height_px == tiff.SMALLEST_CHUNK_ROWS
        np.testing.assert_array_equal(slide.read(3, 100, 200, 100), texture[100:200, 3:203])


# pyramids


def test_level_zero_is_read_and_smaller_levels_serve_thumbnails(tmp_path, texture):
    with tifffile.TiffWriter(tmp_path / 'a.ome.tif') as writer:
        options = {'tile': (64, 64), 'photometric': 'rgb'}
        writer.write(texture, subifds=2, **options)
        for level in (1, 2):
            writer.write(np.full_like(texture[:: 2**level, :: 2**level], 50 * level), subfiletype=1, **options)
    with open_slide(tmp_path / 'a.ome.tif') as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 450, 333), texture)
        assert [level.width_px for level in slide.smaller_levels()] == [225, 113]
        assert set(slide_thumbnail(slide, 200).ravel().tolist()) == {50}
        assert set(slide_thumbnail(slide, 100).ravel().tolist()) == {100}


def test_svs_with_label_and_thumbnail(tmp_path, texture):
    description = 'Aperio Image Library v12\n450x333 (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990|Left = 1.0'
    with tifffile.TiffWriter(tmp_path / 'a.svs') as writer:
        writer.write(texture, tile=(64, 64), photometric='rgb', description=description, metadata=None)
        writer.write(texture[::4, ::4], photometric='rgb', description='Aperio thumbnail', metadata=None)
        writer.write(texture[::2, ::2], tile=(64, 64), photometric='rgb', description='Aperio', metadata=None)
    with open_slide(tmp_path / 'a.svs') as slide:
        assert (slide.width_px, slide.height_px, slide.mpp) == (450, 333, pytest.approx(0.499))
        np.testing.assert_array_equal(slide.read(0, 0, 450, 333), texture)


# pixel size


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'resolution': (1 / 0.7784, 1 / 0.7784), 'imagej': True, 'metadata': {'unit': 'um'}}, 0.7784),
        ({'resolution': (1 / 0.7784, 1 / 0.7784), 'imagej': True, 'metadata': {'unit': 'micron'}}, 0.7784),
        ({'resolution': (1 / 0.7784, 1 / 0.7784), 'imagej': True, 'metadata': {'unit': '\\u00B5m'}}, 0.7784),
        ({'resolution': (1250, 1250), 'imagej': True, 'metadata': {'unit': 'mm'}}, 0.8),
        ({'resolution': (2, 2), 'imagej': True, 'metadata': {'unit': 'pixel'}}, None),
        ({'imagej': True}, None),
        ({'resolution': (20000, 20000), 'resolutionunit': 'centimeter'}, 0.5),
        ({'resolution': (25400, 25400), 'resolutionunit': 'inch'}, 1.0),
        ({'resolution': (300, 300), 'resolutionunit': 'inch'}, None),
        ({'resolution': (20000, 20000), 'resolutionunit': 'none'}, None),
        ({'resolution': (0, 0), 'resolutionunit': 'inch'}, None),
        ({}, None),
    ],
)
def test_pixel_size_from_tags(tmp_path, texture, options, expected):
    tifffile.imwrite(tmp_path / 'a.tif', texture, photometric='rgb', **options)
    with open_slide(tmp_path / 'a.tif') as slide:
        assert slide.mpp == (None if expected is None else pytest.approx(expected, rel=1e-4))


@pytest.mark.parametrize(
    ('size', 'unit', 'expected'), [(0.5, 'µm', 0.5), (500, 'nm', 0.5), (0.0005, 'mm', 0.5), (1, 'pixel', None)]
)
def test_pixel_size_from_ome(tmp_path, texture, size, unit, expected):
    metadata = {f'PhysicalSize{axis}': size for axis in 'XY'} | {f'PhysicalSize{axis}Unit': unit for axis in 'XY'}
    tifffile.imwrite(tmp_path / 'a.ome.tif', texture, photometric='rgb', metadata=metadata)
    with open_slide(tmp_path / 'a.ome.tif') as slide:
        assert slide.mpp == (None if expected is None else pytest.approx(expected))


def test_ome_without_a_size(tmp_path, texture):
    tifffile.imwrite(tmp_path / 'a.ome.tif', texture, photometric='rgb')
    with open_slide(tmp_path / 'a.ome.tif') as slide:
        assert slide.mpp is None


def test_oblong_pixels_are_refused(tmp_path, texture):
    options = {'resolution': (20000, 10000), 'resolutionunit': 'centimeter'}
    tifffile.imwrite(tmp_path / 'a.tif', texture, photometric='rgb', **options)
    with pytest.raises(InputError, match=r'a\.tif: pixels are not square \(0\.5 x 1 um\)'):
        open_slide(tmp_path / 'a.tif')


# refusals


@pytest.mark.parametrize(
    ('data', 'options', 'reason'),
    [
        (
            np.zeros((3, 40, 50), np.uint8),
            {'imagej': True, 'metadata': {'axes': 'CYX'}},
            '3 channels as separate planes',
        ),
        (np.zeros((4, 40, 50), np.uint8), {'imagej': True, 'metadata': {'axes': 'ZYX'}}, '4 focal planes'),
        (np.zeros((5, 40, 50), np.uint8), {'ome': True, 'metadata': {'axes': 'TYX'}}, '5 time points'),
        (np.zeros((40, 50, 3), np.float32), {'photometric': 'rgb'}, 'pixels of type float32'),
        (np.zeros((40, 50), np.uint32), {'photometric': 'minisblack'}, 'pixels of type uint32'),
        (np.zeros((40, 50), np.int16), {'photometric': 'minisblack'}, 'pixels of type int16'),
        (np.zeros((40, 50, 4), np.uint8), {'photometric': 'separated'}, 'colour model'),
    ],
)
def test_images_that_need_a_choice_are_refused(tmp_path, data, options, reason):
    tifffile.imwrite(tmp_path / 'a.tif', data, **options)
    with pytest.raises(InputError, match=rf'a\.tif: .*{reason}.*Save'):
        open_slide(tmp_path / 'a.tif')


def test_a_colour_image_of_two_samples(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((40, 50), np.uint8), photometric='minisblack')
    data = bytearray((tmp_path / 'a.tif').read_bytes())
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        offset = file.pages[0].tags[262].valueoffset
    data[offset : offset + 2] = struct.pack('<H', 2)
    (tmp_path / 'a.tif').write_bytes(data)
    with pytest.raises(InputError, match='colour image with 1 samples'):
        open_slide(tmp_path / 'a.tif')


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('compression', [None, 'deflate', 'jpeg'])
@pytest.mark.parametrize('share', [0.02, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_refused_on_opening(tmp_path, texture, layout, compression, share):
    content = io.BytesIO()
    tifffile.imwrite(content, texture, photometric='rgb', compression=compression, **LAYOUTS[layout])
    (tmp_path / 'a.tif').write_bytes(content.getvalue()[: int(len(content.getvalue()) * share)])
    with pytest.raises(InputError, match=r'a\.tif: .*truncated'):
        open_slide(tmp_path / 'a.tif')


def test_a_file_cut_while_it_is_open(tmp_path, texture):
    tifffile.imwrite(tmp_path / 'a.tif', texture, photometric='rgb')
    with open_slide(tmp_path / 'a.tif') as slide:
        with open(tmp_path / 'a.tif', 'r+b') as file:
            file.truncate(100_000)
        with pytest.raises(InputError, match=r'a\.tif: the file is truncated'):
            slide.read(0, 0, 450, 333)


@pytest.mark.parametrize('compression', ['deflate', 'lzw', 'zstd', 'jpeg'])
@pytest.mark.parametrize('damage', ['zeros', 'shortened'])
def test_damage_inside_a_tile_is_named_never_shown(tmp_path, texture, compression, damage):
    tifffile.imwrite(tmp_path / 'a.tif', texture, photometric='rgb', compression=compression, tile=(64, 80))
    data = bytearray((tmp_path / 'a.tif').read_bytes())
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        page = file.pages[0]
        offset, length = page.dataoffsets[7], page.databytecounts[7]
    if damage == 'zeros':
        data[offset : offset + length] = bytes(length)
    else:
        data[offset + length // 2 : offset + length] = bytes(length - length // 2)
    (tmp_path / 'a.tif').write_bytes(data)
    with open_slide(tmp_path / 'a.tif') as slide:
        slide.read(0, 0, 80, 64)
        with pytest.raises(InputError, match=r'a\.tif: .*tile or strip 7'):
            slide.read(0, 0, 450, 333)


def test_tiles_that_a_sparse_file_leaves_out_are_white(tmp_path):
    tiles = iter([np.full((64, 64, 3), 9, np.uint8), None, None, np.full((64, 64, 3), 7, np.uint8)])
    options = {'shape': (128, 128, 3), 'dtype': np.uint8, 'tile': (64, 64), 'photometric': 'rgb'}
    tifffile.imwrite(tmp_path / 'a.tif', tiles, compression='deflate', **options)
    with open_slide(tmp_path / 'a.tif') as slide:
        pixels = slide.read(0, 0, 128, 128)
        assert slide.empty_segments == 2
    assert [int(pixels[y, x, 0]) for y in (0, 127) for x in (0, 127)] == [9, 255, 255, 7]


def test_a_file_of_nothing_but_empty_tiles(tmp_path):
    options = {'shape': (128, 128, 3), 'dtype': np.uint8, 'tile': (64, 64), 'photometric': 'rgb'}
    tifffile.imwrite(tmp_path / 'a.tif', iter([b''] * 4), compression='deflate', **options)
    with pytest.raises(InputError, match='every tile is empty'):
        open_slide(tmp_path / 'a.tif')


def test_unknown_compression(tmp_path, texture):
    tifffile.imwrite(tmp_path / 'a.tif', texture, photometric='rgb', compression='deflate', tile=(64, 64))
    data = bytearray((tmp_path / 'a.tif').read_bytes())
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        offset = file.pages[0].tags[259].valueoffset
    data[offset : offset + 2] = struct.pack('<H', 65432)
    (tmp_path / 'a.tif').write_bytes(data)
    with open_slide(tmp_path / 'a.tif') as slide, pytest.raises(InputError, match=r'a\.tif: cannot decode .*65432'):
        slide.read(0, 0, 5, 5)


def test_too_few_tiles_listed(tmp_path, texture):
    tifffile.imwrite(tmp_path / 'a.tif', texture, photometric='rgb', compression='deflate', tile=(64, 64))
    data = bytearray((tmp_path / 'a.tif').read_bytes())
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        offset = file.pages[0].tags[257].valueoffset  # ImageLength
    data[offset : offset + 2] = struct.pack('<H', 999)
    (tmp_path / 'a.tif').write_bytes(data)
    with pytest.raises(InputError, match=r'lists 48 tiles or strips instead of 128'):
        open_slide(tmp_path / 'a.tif')


def test_a_strip_too_large_to_decode(tmp_path, texture, monkeypatch):
    monkeypatch.setattr(tiff, 'LARGEST_CHUNK_BYTES', 450 * 333 * 3 - 1)
    tifffile.imwrite(tmp_path / 'a.tif', texture, photometric='rgb', compression='deflate', rowsperstrip=333)
    with pytest.raises(InputError, match='one piece of'):
        open_slide(tmp_path / 'a.tif')
    tifffile.imwrite(tmp_path / 'b.tif', texture, photometric='rgb')  # uncompressed: any size
    np.testing.assert_array_equal(whole(tmp_path / 'b.tif'), texture)


def test_damaged_ome_xml(tmp_path, texture):
    xml = b'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image'
    tifffile.imwrite(tmp_path / 'a.ome.tif', texture, photometric='rgb', description=xml + b'</OME>', metadata=None)
    with pytest.raises(InputError, match=r'a\.ome\.tif: '):
        open_slide(tmp_path / 'a.ome.tif')


def test_damaged_pyramid(tmp_path, texture):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        writer.write(texture, subifds=1, photometric='rgb', tile=(64, 64))
        writer.write(texture[::2, ::2], subfiletype=1, photometric='rgb', tile=(64, 64), compression='deflate')
    size = (tmp_path / 'a.tif').stat().st_size
    with open_slide(tmp_path / 'a.tif') as slide:
        with open(tmp_path / 'a.tif', 'r+b') as file:
            file.truncate(size - 1000)
        with pytest.raises(InputError, match='truncated'):
            slide.smaller_levels()
