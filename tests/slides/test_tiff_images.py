"""Which images a TIFF holds, and which of them is read."""

import numpy as np
import pytest
import tifffile

from noise_mm.errors import InputError
from noise_mm.slides.resample import slide_thumbnail
from noise_mm.slides.slide import open_slide

OME = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">{images}</OME>'
IMAGE = (
    '<Image ID="Image:{n}" Name="{name}"><Pixels ID="Pixels:{n}" DimensionOrder="XYCZT" Type="uint8" SizeX="50"'
    ' SizeY="40" SizeC="3" SizeZ="1" SizeT="1" {size}><Channel ID="C:{n}" SamplesPerPixel="3"/>{data}</Pixels></Image>'
)
SIZE = 'PhysicalSizeX="{0}" PhysicalSizeY="{0}"'
PER_CM = {'resolution': (1e4 / 0.3892, 1e4 / 0.3892), 'resolutionunit': 'centimeter'}


def picture(value, width=50, height=40):
    return np.full((height, width, 3), value, np.uint8)


def write(path, *values, description=None, **options):
    """A TIFF with a page for each value."""
    with tifffile.TiffWriter(path) as tiff:
        for page, value in enumerate(values):
            pixels = value if isinstance(value, np.ndarray) else picture(value)
            tiff.write(
                pixels, photometric='rgb', metadata=None, description=description if page == 0 else None, **options
            )


def look(path, scene=None):
    """Value of the first pixel, pixel size and notes."""
    with open_slide(path, scene) as slide:
        return int(slide.read(0, 0, 1, 1)[0, 0, 0]), slide.mpp, slide.notes


def ome_set(folder, **files):
    """A multi-file OME-TIFF: each file's XML lists the images of all; (value, um) by name."""
    images = ''.join(
        IMAGE.format(
            n=n,
            name=name,
            size=SIZE.format(um),
            data=f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="{name}.ome.tif">urn:uuid:{name}</UUID></TiffData>',
        )
        for n, (name, (_, um)) in enumerate(files.items())
    )
    for name, (value, _) in files.items():
        write(folder / f'{name}.ome.tif', value, description=OME.format(uuid=f'urn:uuid:{name}', images=images))


def test_each_file_of_a_set_is_read_with_its_own_image_and_size(tmp_path):
    ome_set(tmp_path, A1=(10, 0.7784), A2=(20, 0.3892), A3=(30, 0.25))
    assert look(tmp_path / 'A2.ome.tif') == (20, 0.3892, [])
    assert look(tmp_path / 'A3.ome.tif') == (30, 0.25, [])
    (tmp_path / 'A1.ome.tif').unlink()
    assert look(tmp_path / 'A2.ome.tif') == (20, 0.3892, [])


@pytest.mark.parametrize('stated', ['a2.OME.tif', 'export/A2.ome.tif', 'D:\\export\\A2.ome.tif'])
def test_names_in_a_set_may_differ_in_folders_and_capitals(tmp_path, stated):
    data = '<TiffData IFD="0"><UUID FileName="{}">urn:other</UUID></TiffData>'
    images = ''.join(
        IMAGE.format(n=n, name=name, size=SIZE.format(um), data=data.format(name))
        for n, (name, um) in enumerate((('A1.ome.tif', 0.7784), (stated, 0.3892)))
    )
    write(tmp_path / 'A2.ome.tif', 20, description=OME.format(uuid='u', images=images))
    assert look(tmp_path / 'A2.ome.tif') == (20, 0.3892, [])


def test_a_renamed_file_of_a_set_is_known_by_its_uuid(tmp_path):
    ome_set(tmp_path, A1=(10, 0.7784), A2=(20, 0.3892))
    (tmp_path / 'A2.ome.tif').rename(tmp_path / 'B7.ome.tif')
    assert look(tmp_path / 'B7.ome.tif') == (20, 0.3892, [])
    data = (tmp_path / 'B7.ome.tif').read_bytes()
    (tmp_path / 'C1.ome.tif').write_bytes(data.replace(b'UUID="urn:uuid:A2"', b'UUID="urn:uuid:X2"'))
    with pytest.raises(InputError, match='lists 2 images and does not say which of them is in this file'):
        open_slide(tmp_path / 'C1.ome.tif')


def test_scenes_must_be_chosen(tmp_path):
    images = ''.join(
        IMAGE.format(n=n, name=f'A{n + 1}', size=SIZE.format(um), data=f'<TiffData IFD="{n}" PlaneCount="1"/>')
        for n, um in enumerate((0.5, 0.25, 0.125))
    )
    write(tmp_path / 'plate.ome.tif', 10, 20, 30, description=OME.format(uuid='u', images=images))
    with pytest.raises(InputError, match=r'holds 3 images \(A1, A2, A3\)\. Choose one with --scene 1 to 3'):
        open_slide(tmp_path / 'plate.ome.tif')
    assert look(tmp_path / 'plate.ome.tif', 2) == (20, 0.25, [])
    for scene in (0, 4):
        with pytest.raises(InputError, match=f'has no scene {scene}; it holds 3 images'):
            open_slide(tmp_path / 'plate.ome.tif', scene)


def test_label_and_macro_are_no_scenes(tmp_path):
    images = ''.join(
        IMAGE.format(n=n, name=name, size=SIZE.format(0.5), data=f'<TiffData IFD="{n}" PlaneCount="1"/>')
        for n, name in enumerate(('macro image', 'scan', 'Label'))
    )
    write(tmp_path / 'a.ome.tif', 10, 20, 30, description=OME.format(uuid='u', images=images))
    assert look(tmp_path / 'a.ome.tif') == (20, 0.5, ['images that are no scan are not used: macro image, Label'])


@pytest.mark.parametrize('sizes', ['SizeZ="4"', 'SizeT="4"'])
def test_planes_of_an_ome_are_refused(tmp_path, sizes):
    axis = sizes[:5]
    image = IMAGE.format(n=0, name='a', size='', data='<TiffData IFD="0"/>').replace(f'{axis}="1"', sizes)
    write(tmp_path / 'a.ome.tif', 1, 2, 3, 4, description=OME.format(uuid='u', images=image))
    with pytest.raises(InputError, match='holds 4 (focal planes|time points)'):
        open_slide(tmp_path / 'a.ome.tif')


def test_sub_directories_are_levels(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.ome.tif', ome=True) as tiff:
        options = {'photometric': 'rgb', 'tile': (16, 16)}
        tiff.write(picture(7, 200, 160), subifds=2, metadata={'PhysicalSizeX': 0.5, 'PhysicalSizeY': 0.5}, **options)
        tiff.write(picture(7, 100, 80), subfiletype=1, **options)
        tiff.write(picture(7, 50, 40), subfiletype=1, **options)
    with open_slide(tmp_path / 'a.ome.tif') as slide:
        assert [level.width_px for level in slide.smaller_levels()] == [100, 50]
        assert slide_thumbnail(slide, 50).shape == (40, 50, 3)


# pixel size


def test_an_ome_without_size_falls_back_to_the_tags(tmp_path):
    image = IMAGE.format(n=0, name='a', size='', data='<TiffData IFD="0"/>')
    write(tmp_path / 'a.ome.tif', 1, description=OME.format(uuid='u', images=image), **PER_CM)
    assert look(tmp_path / 'a.ome.tif')[1] == pytest.approx(0.3892, rel=1e-4)


def test_the_xml_in_a_companion_file(tmp_path):
    """Without the companion, or without a size in it, the tags count."""
    binary = '<BinaryOnly MetadataFile="plate.companion.ome" UUID="urn:uuid:c"/>'
    write(tmp_path / 'A1.ome.tif', 1, description=OME.format(uuid='urn:uuid:1', images=binary), **PER_CM)
    assert look(tmp_path / 'A1.ome.tif')[1] == pytest.approx(0.3892, rel=1e-4)
    data = '<TiffData IFD="0"><UUID FileName="A1.ome.tif">urn:uuid:1</UUID></TiffData>'
    for size in ('', SIZE.format(0.3892)):
        image = IMAGE.format(n=0, name='A1', size=size, data=data)
        other = IMAGE.format(
            n=1, name='A2', size=SIZE.format(9), data=data.replace('A1', 'A2').replace('uuid:1', 'uuid:2')
        )
        (tmp_path / 'plate.companion.ome').write_text(OME.format(uuid='urn:uuid:c', images=other + image))
        assert look(tmp_path / 'A1.ome.tif')[1] == pytest.approx(0.3892, rel=1e-4)


def test_contradicting_sizes_are_refused_when_asked_for(tmp_path):
    image = IMAGE.format(n=0, name='a', size=SIZE.format(0.5), data='<TiffData IFD="0"/>')
    write(tmp_path / 'a.ome.tif', 1, description=OME.format(uuid='u', images=image), **PER_CM)
    said = r'two pixel sizes, 0\.5 um \(OME-XML\) and 0\.3892 um \(resolution tags\)'
    with open_slide(tmp_path / 'a.ome.tif') as slide, pytest.raises(InputError, match=said):  # --mpp is a way out
        _ = slide.mpp


# Leica, plain pages


LEICA = (
    '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection sizeX="26000000"'
    ' sizeY="76000000">{images}</collection></scn>'
)
LEICA_IMAGE = (
    '<image name="{name}"><pixels sizeX="{width}" sizeY="{height}">{levels}</pixels><view sizeX="{nm_x}" sizeY="{nm_y}"'
    ' offsetX="0" offsetY="0"/></image>'
)


def leica(path, scans):
    images, pages = [], [picture(1, 40, 117)]
    images.append(
        LEICA_IMAGE.format(
            name='image_1', width=40, height=117, nm_x=26000000, nm_y=76000000,
            levels='<dimension sizeX="40" sizeY="117" r="0" ifd="0"/>',
        )
    )  # fmt: skip
    for number in range(scans):
        levels = ''
        for r, scale in enumerate((4, 1)):
            levels += f'<dimension sizeX="{80 * scale}" sizeY="{60 * scale}" r="{r}" ifd="{len(pages)}"/>'
            pages.append(picture(10 * (number + 1), 80 * scale, 60 * scale))
        images.append(
            LEICA_IMAGE.format(name=f'scan{number}', width=320, height=240, nm_x=160000, nm_y=120000, levels=levels)
        )
    write(path, *pages, description=LEICA.format(images=''.join(images)))


@pytest.mark.parametrize('name', ['a.scn', 'a.tif'])
def test_the_macro_image_of_leica_is_not_the_scan(tmp_path, name):
    leica(tmp_path / name, 1)
    assert look(tmp_path / name) == (10, 0.5, ['images that are no scan are not used: image_1 (macro)'])
    with open_slide(tmp_path / name) as slide:
        assert [(slide.width_px, slide.height_px), *((e.width_px, e.height_px) for e in slide.smaller_levels())] == [
            (320, 240),
            (80, 60),
        ]


def test_several_scans_of_leica_must_be_chosen(tmp_path):
    leica(tmp_path / 'a.scn', 2)
    with pytest.raises(InputError, match=r'holds 2 images \(scan0, scan1\)'):
        open_slide(tmp_path / 'a.scn')
    assert look(tmp_path / 'a.scn', 2)[0] == 20


@pytest.mark.parametrize('sizes', [((50, 40), (70, 40)), ((50, 40), (50, 40), (50, 40)), ((30, 20), (50, 40))])
def test_pages_of_a_plain_tiff_must_be_chosen(tmp_path, sizes):
    write(tmp_path / 'a.tif', *(picture(10 * n, *size) for n, size in enumerate(sizes, start=1)))
    with pytest.raises(InputError, match=rf'holds {len(sizes)} images .*--scene 1 to {len(sizes)}'):
        open_slide(tmp_path / 'a.tif')
    assert [look(tmp_path / 'a.tif', n)[0] for n in range(1, len(sizes) + 1)] == [
        10 * n for n in range(1, len(sizes) + 1)
    ]


def test_a_half_sized_page_is_a_level_only_if_it_shows_the_same(tmp_path):
    """Two wells of which one is half as large look like a pyramid that does not say so."""
    texture = np.random.default_rng(0).integers(0, 256, (80, 100, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    write(tmp_path / 'pyramid.tif', texture, texture[::2, ::2], texture[::4, ::4])
    with open_slide(tmp_path / 'pyramid.tif') as slide:
        assert [level.width_px for level in slide.smaller_levels()] == [200, 100]
        assert slide.notes == ['2 smaller pages show the same and are taken for levels of a pyramid']
    write(tmp_path / 'wells.tif', texture, 255 - texture[::2, ::2])
    with pytest.raises(InputError, match='holds 2 images'):
        open_slide(tmp_path / 'wells.tif')


def test_pictures_beside_the_scan_of_a_slide_scanner(tmp_path):
    """Aperio: the scan, a thumbnail, smaller levels, label and macro."""
    with tifffile.TiffWriter(tmp_path / 'a.svs') as tiff:
        aperio = {'photometric': 'rgb', 'metadata': None, 'description': 'Aperio x|MPP = 0,25'}
        tiff.write(picture(1, 160, 128), tile=(16, 16), **aperio)
        tiff.write(picture(2, 50, 40), **aperio)
        tiff.write(picture(1, 80, 64), tile=(16, 16), **aperio)
        tiff.write(picture(3, 30, 40), subfiletype=1, **aperio)
        tiff.write(picture(4, 70, 20), subfiletype=9, **aperio)
    value, um_per_px, (note,) = look(tmp_path / 'a.svs')
    assert (value, um_per_px) == (1, 0.25)
    assert note == 'images that are no scan are not used: Thumbnail, Label, Macro'
    with open_slide(tmp_path / 'a.svs') as slide:
        assert [level.width_px for level in slide.smaller_levels()] == [80]


def test_reduced_pages_are_no_images(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as tiff:
        tiff.write(picture(1, 100, 80), photometric='rgb', metadata=None)
        tiff.write(picture(2, 33, 30), photometric='rgb', subfiletype=1, metadata=None)
    assert look(tmp_path / 'a.tif') == (1, None, ['images that are no scan are not used: thumbnail of 33 x 30 px'])
