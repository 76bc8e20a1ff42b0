"""Each format on a small file."""

import importlib
import shutil

import numpy as np
import pytest

from noise_mm.errors import InputError
from noise_mm.slides import microscope
from noise_mm.slides.resample import slide_thumbnail
from noise_mm.slides.slide import SLIDE_SUFFIXES, open_slide
from tests.fixtures.microscope_files import (
    OVERLAP_PX,
    TILE_PX,
    write_bif,
    write_czi,
    write_lif,
    write_mrxs,
    write_nd2,
    write_ndpi,
    write_philips,
)

STITCHED_PX = 2 * TILE_PX - OVERLAP_PX
JPEG_LOSS = 4
MODULES = {'ndpi': 'openslide', 'bif': 'openslide', 'czi': 'pylibCZIrw', 'nd2': 'nd2', 'lif': 'liffile'}


@pytest.fixture(scope='module')
def pixels():
    """A smooth picture in which every channel and place differs."""
    y, x = np.mgrid[:512, :640]
    return np.stack([200 - y // 4, x // 4, (x + y) // 8], axis=-1).astype(np.uint8)


def written(path, pixels, **options):
    """A file of the format that the suffix names."""
    pytest.importorskip(MODULES[path.suffix[1:]])
    write = {'.ndpi': write_ndpi, '.bif': write_bif}.get(path.suffix)
    if write:
        write(path, pixels, **options)
    elif path.suffix == '.czi':
        write_czi(path, {0: pixels}, **options)
    elif path.suffix == '.nd2':
        write_nd2(path, [pixels], **options)
    else:
        write_lif(path, {'well': pixels}, **options)
    return path


@pytest.mark.parametrize('suffix', MODULES)
def test_each_format_gives_its_pixels_by_windows_and_its_pixel_size(tmp_path, pixels, suffix):
    side = STITCHED_PX if suffix == 'bif' else None
    expected = pixels[:side, :side].astype(int)
    with open_slide(written(tmp_path / f'A1.{suffix}', pixels, mpp=0.465)) as slide:
        assert (slide.height_px, slide.width_px) == expected.shape[:2]
        assert slide.mpp == pytest.approx(0.465, rel=1e-3)
        for x, y in ((0, 0), (100, 50), (slide.width_px - 200, slide.height_px - 100)):
            window = slide.read(x, y, 200, 100)
            most = np.abs(window - expected[y : y + 100, x : x + 200]).max()
            assert most <= (JPEG_LOSS if suffix == 'ndpi' else 0)
        beyond = slide.read(slide.width_px - 10, slide.height_px - 10, 20, 20)
        assert (beyond[10:] == 255).all()
        small = slide_thumbnail(slide, 64)
        assert max(small.shape) == 64
        assert np.abs(small.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 3


def test_the_scanned_region_of_an_mrxs_slide_is_read(tmp_path, pixels):
    pytest.importorskip('openslide')
    write_mrxs(tmp_path / 'A1.mrxs', pixels, mpp=0.325)
    with open_slide(tmp_path / 'A1.mrxs') as slide:
        assert (slide.width_px, slide.height_px, slide.mpp) == (512, 512, pytest.approx(0.325))
        assert slide.notes == ['the scanned region of 512 x 512 px is read; it begins at (256, 256) of the slide']
        np.testing.assert_array_equal(slide.read(100, 200, 300, 200), pixels[200:400, 100:400])
    (tmp_path / 'A1' / 'Data0000.dat').unlink()
    with pytest.raises(InputError, match=r'A1\.mrxs: '), open_slide(tmp_path / 'A1.mrxs') as slide:
        slide.read(0, 0, 100, 100)


@pytest.mark.parametrize('compression', ['zstd0:ExplicitLevel=1', 'zstd1:ExplicitLevel=2;PreProcess=HiLoByteUnpack'])
def test_compressed_czi(tmp_path, pixels, compression):
    with open_slide(written(tmp_path / 'A1.czi', pixels, compression=compression)) as slide:
        np.testing.assert_array_equal(slide.read(9, 7, 300, 200), pixels[7:207, 9:309])


def test_levels_of_a_czi_show_the_same(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(microscope, 'SMALLEST_LEVEL_PX', 100)
    with open_slide(written(tmp_path / 'A1.czi', pixels)) as slide:
        levels = slide.smaller_levels()
        assert [(level.width_px, level.height_px) for level in levels] == [(320, 256), (160, 128)]
        assert np.abs(levels[1].read(0, 0, 160, 128).astype(int) - pixels[::4, ::4]).max() <= 3


def test_scenes_must_be_chosen(tmp_path, pixels):
    pytest.importorskip('pylibCZIrw')
    pytest.importorskip('nd2')
    pytest.importorskip('liffile')
    other = pixels[:99, :77, ::-1].copy()
    write_czi(tmp_path / 'a.czi', {0: pixels, 1: other})
    write_lif(tmp_path / 'a.lif', {'one': pixels, 'two': other})
    write_nd2(tmp_path / 'a.nd2', [pixels, pixels[::-1]])
    for name, listed in (('a.czi', 'scene 1, scene 2'), ('a.lif', 'one, two'), ('a.nd2', 'position 1, position 2')):
        with pytest.raises(InputError, match=rf'{name}: holds 2 images \({listed}\).*--scene 1 to 2'):
            open_slide(tmp_path / name)
        with pytest.raises(InputError, match='has no scene 3'):
            open_slide(tmp_path / name, 3)
        expected = pixels[::-1] if name == 'a.nd2' else other
        with open_slide(tmp_path / name, 2) as slide:
            np.testing.assert_array_equal(slide.read(5, 6, 50, 60), expected[6:66, 5:55])


@pytest.mark.parametrize('suffix', ['czi', 'nd2', 'lif'])
def test_sixteen_bits_and_grey(tmp_path, pixels, suffix):
    bits = {} if suffix == 'czi' else {'bits': 12}
    stored = pixels.astype(np.uint16) << (8 if suffix == 'czi' else 4)
    with open_slide(written(tmp_path / f'a.{suffix}', stored, **bits)) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 50, 40), pixels[:40, :50])
    with open_slide(written(tmp_path / f'b.{suffix}', pixels[..., 1].copy())) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 50, 40), pixels[:40, :50, 1:2].repeat(3, axis=2))


def test_blue_first_in_a_lif(tmp_path, pixels):
    with open_slide(written(tmp_path / 'a.lif', pixels, bgr=True)) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 50, 40), pixels[:40, :50])


def test_compressed_nd2(tmp_path, pixels):
    with open_slide(written(tmp_path / 'a.nd2', pixels, compressed=True)) as slide:
        for x in (0, 100):
            np.testing.assert_array_equal(slide.read(x, 20, 300, 200), pixels[20:220, x : x + 300])


def test_nd2_without_pixels_is_no_black_well(tmp_path, pixels):
    path = written(tmp_path / 'a.nd2', pixels)
    path.write_bytes(path.read_bytes().replace(b'ImageDataSeq|0!', b'ImageDataSeq|7!'))
    with open_slide(path) as slide, pytest.raises(InputError, match=r'a\.nd2: cannot be decoded \(its pixels are miss'):
        slide.read(0, 0, 50, 40)


def test_uncalibrated_nd2_states_no_size(tmp_path, pixels):
    with open_slide(written(tmp_path / 'a.nd2', pixels, calibrated=False)) as slide:
        assert slide.mpp is None


def test_channels_are_refused(tmp_path, pixels):
    czi = pytest.importorskip('pylibCZIrw.czi')
    with czi.create_czi(str(tmp_path / 'a.czi')) as file:
        for channel in range(3):
            file.write(pixels[..., channel : channel + 1].copy(), plane={'C': channel})
    with pytest.raises(InputError, match=r'a\.czi: holds 3 channels\. Save a single RGB plane'):
        open_slide(tmp_path / 'a.czi')


@pytest.mark.parametrize('suffix', MODULES)
def test_damaged_files_are_named(tmp_path, pixels, suffix):
    path = written(tmp_path / f'A1.{suffix}', pixels)
    data = path.read_bytes()
    for damaged in (b'', data[: len(data) // 2], b'nonsense' * 100):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=rf'A1\.{suffix}: ') as raised, open_slide(path) as slide:
            slide.read(0, 0, slide.width_px, slide.height_px)
        assert '\n' not in str(raised.value)


@pytest.mark.parametrize('suffix', microscope.READERS)
def test_without_the_library_the_line_says_what_to_install(tmp_path, monkeypatch, suffix):
    def missing(name):
        raise ImportError(f'No module named {name!r}', name=name)

    monkeypatch.setattr(importlib, 'import_module', missing)
    (tmp_path / f'A1{suffix}').touch()
    with pytest.raises(InputError, match=rf"A1\{suffix}: reading \{suffix} needs .*pip install '\.\[formats\]'"):
        open_slide(tmp_path / f'A1{suffix}')
    assert suffix in SLIDE_SUFFIXES


def test_vsi_is_refused_although_it_begins_like_a_tiff(tmp_path, pixels):
    write_philips(tmp_path / 'a.tif', pixels)
    shutil.copy(tmp_path / 'a.tif', tmp_path / 'a.vsi')
    with pytest.raises(InputError, match=r'a\.vsi: VSI files are not read, .*OME-TIFF'):
        open_slide(tmp_path / 'a.vsi')


def test_philips_and_ventana_tiffs_state_their_size_in_xml(tmp_path, pixels):
    per_cm = {'resolution': (1e4 / 0.25, 1e4 / 0.25), 'resolutionunit': 'centimeter'}
    for name, write, options in (('philips', write_philips, {}), ('ventana', write_bif, {'overlap_px': 0})):
        write(tmp_path / 'a.tif', pixels, mpp=0.465, **options)
        with open_slide(tmp_path / 'a.tif') as slide:
            assert slide.mpp == pytest.approx(0.465)
            assert len(slide.smaller_levels()) == 1
        write(tmp_path / 'b.tif', pixels, mpp=0.465, **options, **per_cm)
        with open_slide(tmp_path / 'b.tif') as slide, pytest.raises(InputError, match=rf'(?i){name} XML.*--mpp'):
            _ = slide.mpp
    write_bif(tmp_path / 'c.tif', pixels)
    with pytest.raises(InputError, match=r'c\.tif: a Ventana slide whose tiles overlap\. Rename it to \.bif'):
        open_slide(tmp_path / 'c.tif')
