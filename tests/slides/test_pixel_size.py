import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from noise_mm.errors import InputError
from noise_mm.slides.pixel_size import StatedSize, agreed_mpp, number, of_aperio, of_ome, of_tags, um_per_unit

PATH = Path('a.tif')


@pytest.mark.parametrize(
    ('unit', 'um'),
    [
        ('µm', 1), ('μm', 1), ('\\u00B5m', 1), ('um', 1), ('Micron', 1), ('microns', 1), ('micrometre', 1),
        ('Micrometers', 1), ('mm', 1000), ('millimetres', 1000), ('nm', 1e-3), ('cm', 1e4), ('m', 1e6),
        ('inch', 25400), ('inches', 25400), ('pixel', None), ('', None), (None, None), ('reference frame', None),
    ],
)  # fmt: skip
def test_units_however_they_are_spelt(unit, um):
    assert um_per_unit(unit) == um


@pytest.mark.parametrize(
    ('text', 'value'),
    [('0.3892', 0.3892), ('0,3892', 0.3892), (' 1e-3 ', 1e-3), ('0', None), ('-1', None), ('nan', None), ('x', None)],
)
def test_numbers_with_a_point_or_comma(text, value):
    assert number(text) == value


def test_what_aperio_and_ome_say():
    assert of_aperio('Aperio Image Library|AppMag = 20|MPP = 0,4990|x')[0].x_um == 0.499
    assert of_aperio('Aperio Image Library|AppMag = 20') == []
    pixels = ElementTree.Element('Pixels', PhysicalSizeX='389,2', PhysicalSizeXUnit='nm', PhysicalSizeY='0.3892')
    assert of_ome(pixels)[0][1:] == pytest.approx((0.3892, 0.3892))
    assert of_ome(ElementTree.Element('Pixels', PhysicalSizeX='1', PhysicalSizeXUnit='pixel', PhysicalSizeY='1')) == []


def test_what_tags_say():
    assert of_tags([(20000, 1), (20000, 1)], 3, None)[0].x_um == pytest.approx(0.5)
    assert of_tags([(2, 1), (2, 1)], 1, {'unit': 'Micron'})[0] == ('ImageJ unit', 0.5, 0.5)
    for odd in ([(0, 1), (1, 1)], [(1, 0), (1, 1)], [None, None], [(1, 1, 1), (1, 1)], ['ab', 'cd']):
        assert of_tags(odd, 3, None) == []
    assert of_tags([(1, 1), (1, 1)], 1, None) == []


def test_sources_that_agree_and_prints():
    one, same, near = StatedSize('a', 0.5, 0.5), StatedSize('b', 0.505, 0.505), StatedSize('c', 0.52, 0.52)
    dots_per_inch = StatedSize('tags', 25400 / 72, 25400 / 72)
    assert agreed_mpp(PATH, [dots_per_inch, one, same]) == 0.5
    assert agreed_mpp(PATH, [dots_per_inch]) is None
    assert agreed_mpp(PATH, []) is None
    contradiction = agreed_mpp(PATH, [one, near])
    assert isinstance(contradiction, InputError) and '0.5 um (a) and 0.52 um (c)' in str(contradiction)


@pytest.mark.parametrize('size', [(0.5, 1.0), (350, 700)])
def test_oblong_pixels_are_refused_whatever_their_size(size):
    with pytest.raises(InputError, match='pixels are not square'):
        agreed_mpp(PATH, [StatedSize('a', *size)])
