import contextlib
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
import tifffile
from PIL import Image
from pycocotools.coco import COCO

from noise_mm.errors import run_command
from noise_mm.formats.geojson import write_geojson
from noise_mm.formats.imagej import write_imagej
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.pixels import fill_pixels
from tests.fixtures.files import write_roi_csv

SCRIPT = Path(__file__).resolve().parents[2] / 'data_prep' / 'extract_patches.py'
SMALL = ('--patch-size', '100', '--stride', '50', '--workers', '1')
BACKGROUND, CELL = (230, 225, 228), (120, 40, 110)


def command(wells, rois, out, *options):
    paths = ['--wells', wells, '--rois', rois, '--out', out, '--batch', 'M1']
    return [sys.executable, str(SCRIPT), *map(str, paths), *map(str, options)]


@pytest.fixture(scope='module')
def script():
    spec = importlib.util.spec_from_file_location('extract_patches', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(script, monkeypatch):
    """Runs the command in this process: standard output, lines of standard error, and exit status."""

    def run_here(*arguments):
        monkeypatch.setattr(sys, 'argv', command(*arguments)[1:])
        stdout, stderr, status = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                run_command(script.main)
            except SystemExit as stop:
                status = stop.code
        return stdout.getvalue(), stderr.getvalue().splitlines(), status

    return run_here


def read(out):
    return json.loads((out / 'M1' / 'annotations.json').read_text())


def contents(folder):
    """Every file of a folder with its bytes, hidden ones too."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob('*')) if file.is_file()}


def draw(size_px, outlines):
    width_px, height_px = size_px
    well = np.full((height_px, width_px, 3), BACKGROUND, np.uint8)
    for outline in outlines:
        well[fill_pixels(outline.geometry, 0, 0, width_px, height_px)] = CELL
    return well


def some_cells(seed, size_px, count=12):
    """Convex cells that don't touch each other, in whole pixels, as all formats keep them; some are cut by the well."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        centre, radius = rng.uniform(0, 1, 2) * size_px, rng.uniform(8, 70)
        angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        points = np.rint(centre + radius * np.stack([np.cos(angles), 0.7 * np.sin(angles)], axis=1))
        cell = shapely.Polygon(points.clip(0, size_px)).buffer(0)
        if cell.area > 40 and all(cell.distance(other.geometry) > 2 for other in found):
            found.append(Outline(cell, name=f'c{len(found)}'))
    return found


@pytest.fixture
def folders(tmp_path):
    for name in ('wells', 'rois'):
        (tmp_path / name).mkdir()
    return tmp_path / 'wells', tmp_path / 'rois', tmp_path / 'out'


def add_well(folders, name, size_px=(430, 320), seed=0, count=12, **options):
    outlines = some_cells(seed, size_px, count)
    options = {'tile': (64, 64), 'compression': 'deflate', 'photometric': 'rgb', **options}
    tifffile.imwrite(folders[0] / f'{name}.tif', draw(size_px, outlines), **options)
    write_imagej(folders[1] / f'{name}.zip', outlines)
    return outlines


# what comes out


def test_every_pixel_and_every_cell_of_a_batch(folders, run):
    """Three formats of wells and annotations; patches and masks against crops of the whole wells."""
    truth = {name: some_cells(seed, (430, 320)) for seed, name in enumerate('abc')}
    drawn = {name: draw((430, 320), outlines) for name, outlines in truth.items()}
    wells, rois, out = folders
    tifffile.imwrite(wells / 'a.tif', drawn['a'], tile=(64, 64), compression='deflate', photometric='rgb')
    tifffile.imwrite(wells / 'img_b.tif', drawn['b'], rowsperstrip=5, photometric='rgb')
    Image.fromarray(drawn['c']).save(wells / 'c.png')
    write_imagej(rois / 'RoiSet_a.zip', truth['a'])
    write_roi_csv(rois / 'roi_b.csv', truth['b'])
    write_geojson(rois / 'c.geojson', truth['c'])
    stdout, errors, status = run(wells, rois, out, *SMALL, '--keep-empty', '1', '--assume-mpp')
    assert status == 0
    assert [line for line in errors if line.startswith('error')] == []
    assert stdout.startswith(f'{out / "M1"}: {3 * 8 * 6} patches of 3 wells')
    coco = COCO(out / 'M1' / 'annotations.json')
    assert len(coco.imgs) == 3 * 8 * 6
    areas = {}
    for image in coco.imgs.values():
        x, y, well = image['x'], image['y'], image['well']
        assert image['file_name'] == f'images/{well}_{y}_{x}.png'
        assert (image['batch'], image['width'], image['height'], image['scale']) == ('M1', 100, 100, 1.0)
        pixels = np.asarray(Image.open(out / 'M1' / image['file_name']))
        np.testing.assert_array_equal(pixels, drawn[well][y : y + 100, x : x + 100])
        mask = np.zeros((100, 100), bool)
        for annotation in coco.imgToAnns[image['id']]:
            piece = shapely.union_all(
                [shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in annotation['segmentation']]
            )
            assert annotation['area'] == pytest.approx(piece.area)
            left, top, wide, high = annotation['bbox']
            assert (left, top, left + wide, top + high) == pytest.approx(piece.bounds)
            assert annotation['iscrowd'] == (annotation['visible_fraction'] < 0.1)
            mask |= fill_pixels(piece, 0, 0, 100, 100)
            cell = truth[well][annotation['cell'] - 1]
            assert annotation['visible_fraction'] == pytest.approx(piece.area / cell.geometry.area, abs=1e-6)
            at_home = shapely.affinity.translate(piece, x, y)
            areas[well, annotation['cell']] = shapely.union_all(
                [at_home, areas.get((well, annotation['cell']), at_home)]
            )
        differing = np.argwhere(mask != (pixels == CELL).all(axis=2))  # slivers included
        for row, column in differing:  # a centre on an edge may fall to either side once the edge is cut
            centre = shapely.Point(x + column + 0.5, y + row + 0.5)
            assert min(centre.distance(cell.geometry.boundary) for cell in truth[well]) < 1e-9
    assert len(areas) == 3 * 12
    for (well, cell), united in areas.items():
        assert united.area == pytest.approx(truth[well][cell - 1].geometry.area, rel=1e-9)
    listed = {well['well']: well for well in json.loads((out / 'M1' / 'wells.json').read_text())}
    assert sorted(listed) == ['a', 'b', 'c']
    assert listed['b']['source'] == 'img_b.tif'
    assert listed['b']['annotation_source'] == 'roi_b.csv'
    total_um2 = sum(outline.geometry.area for outline in truth['b']) * 0.7784**2
    assert listed['b']['cell_area_um2'] == pytest.approx(total_um2)


def test_without_keep_empty_only_patches_with_cells(folders, run):
    add_well(folders, 'a')
    run(*folders, *SMALL)
    dataset = read(folders[2])
    assert {image['id'] for image in dataset['images']} == {each['image_id'] for each in dataset['annotations']}
    assert len(list((folders[2] / 'M1' / 'images').iterdir())) == len(dataset['images']) > 0


@pytest.mark.parametrize('by', ['option', 'file'])
def test_another_magnification_is_resampled_to_the_reference(folders, by, run):
    """A well of 0.3 um/px: patches are as wide in um as ever, and outlines lie on the cells."""
    size_px, mpp = (900, 700), 0.3
    stated = {'resolution': (1e4 / mpp, 1e4 / mpp), 'resolutionunit': 'centimeter'} if by == 'file' else {}
    outlines = add_well(folders, 'a', size_px, seed=4, **stated)
    options = ['--mpp', mpp] if by == 'option' else []
    _, errors, status = run(*folders, *SMALL, '--keep-empty', 1, *options)
    assert (status, [line for line in errors if 'assumed' in line]) == (0, [])
    scale = mpp / 0.7784
    dataset = read(folders[2])
    overlap = union = 0
    for image in dataset['images']:
        assert image['mpp'] == pytest.approx(0.7784)
        assert image['scale'] == pytest.approx(scale)
        assert (image['x'] * scale) == pytest.approx(round(image['x'] * scale), abs=1e-6)
        pixels = np.asarray(Image.open(folders[2] / 'M1' / image['file_name']))
        dark = pixels[..., 1] < (BACKGROUND[1] + CELL[1]) / 2
        mask = np.zeros((100, 100), bool)
        for each in dataset['annotations']:
            if each['image_id'] == image['id']:
                for ring in each['segmentation']:
                    mask |= fill_pixels(shapely.Polygon(np.reshape(ring, (-1, 2))), 0, 0, 100, 100)
        overlap, union = overlap + (dark & mask).sum(), union + (dark | mask).sum()
    assert overlap / union > 0.98
    for each in dataset['annotations']:
        whole = outlines[each['cell'] - 1].geometry.area * scale**2
        assert each['area'] == pytest.approx(each['visible_fraction'] * whole, rel=1e-3)


@pytest.mark.parametrize('mpp', [0.39, 1.5, 3.0])
def test_every_patch_has_a_file_of_its_own(folders, mpp, run):
    """Also the last one, which may lie less than a pixel of the well from the one before."""
    for extra_px in range(3):
        add_well(folders, f'w{extra_px}', (200 + extra_px, 180), count=4)
    _, _, status = run(*folders, *SMALL, '--mpp', mpp, '--keep-empty', 1)
    images = read(folders[2])['images']
    assert status == 0
    assert len({image['file_name'] for image in images}) == len(images)
    assert {f'images/{file.name}' for file in (folders[2] / 'M1' / 'images').iterdir()} == {
        image['file_name'] for image in images
    }


def test_network_size(folders, run):
    add_well(folders, 'a')
    wells, rois, out = folders
    run(wells, rois, out, *SMALL)
    full = read(out)
    patch = np.asarray(Image.open(out / 'M1' / full['images'][3]['file_name']))
    _, _, status = run(wells, rois, out, *SMALL, '--network-size', 50, '--assume-mpp')
    half = read(out)
    assert status == 0
    image = half['images'][3]
    assert (image['width'], image['scale']) == (50, 0.5)
    assert image['mpp'] == pytest.approx(2 * 0.7784)
    small = np.asarray(Image.open(out / 'M1' / image['file_name']))
    assert np.abs(small - patch.reshape(50, 2, 50, 2, 3).mean(axis=(1, 3))).max() <= 0.5
    for whole, shrunk in zip(full['annotations'], half['annotations'], strict=True):
        assert shrunk['area'] == pytest.approx(whole['area'] / 4)
        assert shrunk['bbox'] == pytest.approx([value / 2 for value in whole['bbox']])


def test_a_well_smaller_than_a_patch_is_padded_with_white(folders, run):
    add_well(folders, 'a', (80, 70), count=2)
    run(*folders, *SMALL)
    pixels = np.asarray(Image.open(folders[2] / 'M1' / read(folders[2])['images'][0]['file_name']))
    assert pixels.shape == (100, 100, 3)
    assert (pixels[70:] == 255).all() and (pixels[:, 80:] == 255).all()


def test_the_published_size_by_default(folders, run):
    add_well(folders, 'a', (1700, 900))
    run(*folders, '--workers', 1, '--keep-empty', 1)
    dataset = read(folders[2])
    places = [(image['y'], image['x'], image['width']) for image in dataset['images']]
    assert places == [(y, x, 832) for y in (0, 68) for x in (0, 416, 832, 868)]
    assert [image['id'] for image in dataset['images']] == list(range(1, 9))
    assert [each['id'] for each in dataset['annotations']] == list(range(1, len(dataset['annotations']) + 1))


def test_classes(folders, run):
    outlines = add_well(folders, 'a')
    labelled = [
        Outline(each.geometry, label='nucleus' if index else 'pre-osteoclast') for index, each in enumerate(outlines)
    ]
    (folders[1] / 'a.zip').unlink()
    write_geojson(folders[1] / 'a.geojson', labelled)
    _, errors, status = run(*folders, *SMALL)
    assert status == 2
    assert "class 'pre-osteoclast'" in errors[0] and '--leave-out pre-osteoclast' in errors[0]
    _, _, status = run(*folders, *SMALL, '--leave-out', 'pre-osteoclast')
    assert status == 0
    assert {each['category_id'] for each in read(folders[2])['annotations']} == {2}
    assert json.loads((folders[2] / 'M1' / 'wells.json').read_text())[0]['cells'] == len(outlines) - 1


# going on after a kill


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(folders, run):
    """kill -9 in the middle; blocks that were done are not done again."""
    wells, rois, out = folders
    add_well(folders, 'a', (1400, 1400))
    add_well(folders, 'b', (400, 400), seed=1)
    options = ('--patch-size', 64, '--stride', 32, '--keep-empty', 1, '--workers', 2)
    _, _, status = run(wells, rois, out, *options)
    assert status == 0
    expected = contents(out)
    again = out.with_name('again')
    process = subprocess.Popen(command(wells, rois, again, *options), stderr=subprocess.DEVNULL)
    journal = again / 'M1' / '.extracted'
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_text().count('\n') >= 1):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (again / 'M1' / 'annotations.json').exists()
    time.sleep(1)  # its worker processes notice and end
    written = {file: file.stat().st_mtime_ns for file in (again / 'M1' / 'images').glob('[!.]*.png')}
    assert 0 < len(written) < sum(name.endswith('.png') for name in expected)
    (again / 'M1' / 'images' / '.half-written.png').write_bytes(b'x')
    with open(journal, 'a') as file:
        file.write('half a li')
    _, _, status = run(wells, rois, again, *options)
    assert status == 0
    assert contents(again) == expected
    kept = sum(file.stat().st_mtime_ns == before for file, before in written.items())
    assert kept >= 16 * 11  # the smallest block that is not at the lower border


def test_a_second_run_decodes_nothing_and_changes_nothing(folders, run):
    wells, rois, out = folders
    add_well(folders, 'a')
    run(wells, rois, out, *SMALL)
    before = {file: file.stat().st_mtime_ns for file in (out / 'M1' / 'images').iterdir()}
    first = contents(out)
    _, _, status = run(wells, rois, out, *SMALL)
    assert (status, contents(out)) == (0, first)
    assert {file: file.stat().st_mtime_ns for file in (out / 'M1' / 'images').iterdir()} == before


def test_a_missing_patch_or_a_changed_well_is_done_again(folders, run):
    wells, rois, out = folders
    add_well(folders, 'a')
    run(wells, rois, out, *SMALL)
    first = contents(out / 'M1' / 'images')
    next((out / 'M1' / 'images').iterdir()).unlink()
    run(wells, rois, out, *SMALL)
    assert contents(out / 'M1' / 'images') == first
    with tifffile.TiffFile(wells / 'a.tif') as file:
        pixels = file.asarray()
    tifffile.imwrite(wells / 'a.tif', 255 - pixels, photometric='rgb')
    run(wells, rois, out, *SMALL)
    assert not set(contents(out / 'M1' / 'images').values()) & set(first.values())


def test_workers_do_not_change_the_result(folders, run):
    for seed, name in enumerate('abc'):
        add_well(folders, name, seed=seed)
    wells, rois, out = folders
    run(wells, rois, out, *SMALL, '--keep-empty', 0.3, '--seed', 5)
    run(wells, rois, out.with_name('two'), *SMALL[:-1], 2, '--keep-empty', 0.3, '--seed', 5)
    assert contents(out) == contents(out.with_name('two'))


def test_patches_of_other_settings_do_not_stay(folders, run):
    wells, rois, out = folders
    add_well(folders, 'a')
    run(wells, rois, out, *SMALL, '--keep-empty', 1)
    (out / 'M1' / 'images' / 'a_of_mine.png').touch()
    run(wells, rois, out, *SMALL)
    left = {f'images/{file.name}' for file in (out / 'M1' / 'images').iterdir()}
    assert left == {image['file_name'] for image in read(out)['images']} | {'images/a_of_mine.png'}


def test_a_batch_does_not_lose_its_other_wells(folders, run):
    wells, rois, out = folders
    add_well(folders, 'a')
    run(wells, rois, out, *SMALL)
    before = contents(out)
    (wells / 'a.tif').rename(wells / 'z.tif')
    (rois / 'a.zip').rename(rois / 'z.zip')
    _, errors, status = run(wells, rois, out, *SMALL)
    assert (status, len(errors)) == (2, 1)
    assert 'already holds other wells (a)' in errors[0]
    assert contents(out) == before
    (out / 'M1' / 'wells.json').write_text('{}')
    _, errors, status = run(wells, rois, out, *SMALL)
    assert status == 2 and 'wells.json: not a list of wells' in errors[0]


# bad input


def break_tiff(wells, rois):
    data = (wells / 'bad.tif').read_bytes()
    (wells / 'bad.tif').write_bytes(data[: len(data) // 2])


def break_zip(wells, rois):
    with zipfile.ZipFile(rois / 'bad.zip', 'a') as archive:
        archive.writestr('odd.roi', b'Iout' + bytes(10))


def put_outside(wells, rois):
    write_imagej(rois / 'bad.zip', [Outline(shapely.box(5000, 10, 5050, 60), name='stray')])


def shorten_csv_row(wells, rois):
    (rois / 'bad.zip').unlink()
    (rois / 'bad.csv').write_text('0,10,10,20,20,10,10,30,10,30,30\n1,10,10,20,20,10,10,30\n')


def use_micrometres(wells, rois):
    (rois / 'bad.zip').unlink()
    write_geojson(rois / 'bad.geojson', [Outline(shapely.box(10, 10, 30, 30))])
    value = json.loads((rois / 'bad.geojson').read_text())
    value['unit'] = 'um'
    (rois / 'bad.geojson').write_text(json.dumps(value))


def take_rois_away(wells, rois):
    (rois / 'bad.zip').unlink()


def add_namesake(wells, rois):
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(wells / 'bad.png')


def write_text(wells, rois):
    (wells / 'bad.tif').write_text('see the other folder')


def break_a_tile(wells, rois):
    """Seen only when that tile is decoded."""
    with tifffile.TiffFile(wells / 'bad.tif') as file:
        offset, length = file.pages[0].dataoffsets[12], file.pages[0].databytecounts[12]
    with open(wells / 'bad.tif', 'r+b') as file:
        file.seek(offset)
        file.write(bytes(length))


FAULTS = {
    break_tiff: ('bad.tif', 'truncated'),
    break_zip: ('bad.zip', 'odd.roi'),
    put_outside: ('bad.zip', 'outside the image'),
    shorten_csv_row: ('bad.csv', 'line 2'),
    use_micrometres: ('bad.geojson', 'um'),
    take_rois_away: ('bad.tif', 'no annotation file'),
    add_namesake: ("'bad'", 'bad.png, bad.tif'),
    write_text: ('bad.tif', 'not an image of a known format'),
    break_a_tile: ('bad.tif', 'tile or strip 12'),
}


@pytest.mark.parametrize('fault', FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_named_in_one_line_and_the_good_wells_are_done_if_wanted(folders, fault, run):
    wells, rois, out = folders
    add_well(folders, 'good')
    add_well(folders, 'bad', seed=1)
    fault(wells, rois)
    _, errors, status = run(wells, rois, out, *SMALL)
    assert status == 2
    assert all(line.startswith('error: ') for line in errors)
    assert len(errors) == 2  # the fault, and that it stopped the work
    assert all(part in errors[0] for part in FAULTS[fault]), errors
    assert '--skip-bad' in errors[1]
    assert not (out / 'M1' / 'annotations.json').exists()
    _, errors, status = run(wells, rois, out, *SMALL, '--skip-bad')
    assert status == 3
    assert len([line for line in errors if line.startswith('error: ')]) == 1
    assert {image['well'] for image in read(out)['images']} == {'good'}
    assert not list((out / 'M1' / 'images').glob('bad_*'))
    alone = out.with_name('alone')
    for file in [*wells.glob('bad.*'), *rois.glob('bad.*')]:
        file.unlink()
    run(wells, rois, alone, *SMALL)
    assert contents(alone) == contents(out)


def test_all_faults_are_named_at_once(folders, run):
    wells, rois, out = folders
    for name in ('one', 'two', 'good'):
        add_well(folders, name)
    (wells / 'one.tif').write_text('')
    (rois / 'two.zip').write_text('')
    _, errors, status = run(wells, rois, out, *SMALL)
    assert (status, len(errors)) == (2, 3)
    assert 'one.tif' in errors[0] and 'two.zip' in errors[1] and '2 of 3 wells' in errors[2]
    assert not out.exists()


def test_nothing_but_bad_wells_is_an_error_even_if_they_may_be_skipped(folders, run):
    add_well(folders, 'a')
    (folders[0] / 'a.tif').write_text('')
    _, errors, status = run(*folders, *SMALL, '--skip-bad')
    assert (status, len(errors)) == (2, 2)


def test_unannotated_wells_are_negatives_if_allowed(folders, run):
    add_well(folders, 'a')
    add_well(folders, 'b', seed=1)
    (folders[1] / 'b.zip').unlink()
    _, _, status = run(*folders, *SMALL, '--allow-unannotated', '--keep-empty', 0.5)
    dataset = read(folders[2])
    of_b = {image['id'] for image in dataset['images'] if image['well'] == 'b'}
    assert (status, len(of_b)) == (0, 24)
    assert not of_b & {each['image_id'] for each in dataset['annotations']}


def test_an_empty_annotation_file_is_a_well_without_cells(folders, run):
    add_well(folders, 'a')
    add_well(folders, 'b', seed=1)
    (folders[1] / 'b.zip').unlink()
    write_geojson(folders[1] / 'b.geojson', [])
    _, _, status = run(*folders, *SMALL)
    assert status == 0
    assert {image['well'] for image in read(folders[2])['images']} == {'a'}


def test_notes_on_what_was_assumed_or_left_out(folders, run):
    wells, rois, out = folders
    tiles = iter([np.full((64, 64, 3), 9, np.uint8), None, None, np.full((64, 64, 3), 7, np.uint8)])
    options = {'shape': (128, 128, 3), 'dtype': np.uint8, 'tile': (64, 64), 'photometric': 'rgb'}
    tifffile.imwrite(wells / 'a.tif', tiles, compression='deflate', **options)
    write_imagej(rois / 'a.zip', [Outline(shapely.box(5, 5, 90, 90))])
    _, errors, status = run(wells, rois, out, *SMALL)
    notes = [line for line in errors if line.startswith('note: ')]
    assert status == 0
    assert 'no pixel size; 0.7784 um is assumed' in notes[0]
    assert 'leaves out tiles' in notes[1]


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (('--mpp', '0'), '--mpp must be positive'),
        (('--mpp', 'nan'), '--mpp must be positive'),
        (('--stride', '2000'), '--stride'),
        (('--batch', '../M1'), '--batch'),
        (('--workers', '0'), '--workers must be at least 1'),
    ],
)
def test_impossible_options(folders, options, named, run):
    add_well(folders, 'a')
    _, errors, status = run(*folders, *options)
    assert status == 2
    assert named in errors[-1]
    assert not folders[2].exists()


def test_a_folder_that_cannot_be_written(folders, run):
    add_well(folders, 'a')
    folders[2].write_text('a file')
    _, errors, status = run(*folders, *SMALL)
    assert status == 2
    assert 'cannot write here' in errors[0]


def test_help_has_an_example(run):
    done = subprocess.run([sys.executable, str(SCRIPT), '--help'], capture_output=True, text=True)
    assert done.returncode == 0
    assert 'extract_patches.py --wells' in done.stdout


# many machines


@pytest.mark.slow
def test_over_a_dask_cluster_one_worker_of_which_is_killed(folders, tmp_path, run):
    """Scheduler and three workers as a lab starts them, in a folder from which the package can't be imported."""
    pytest.importorskip('distributed')
    wells, rois, out = folders
    for seed, name in enumerate('ab'):
        add_well(folders, name, (1100, 1100), seed=seed)
    options = ('--patch-size', 64, '--stride', 32, '--keep-empty', 1)
    run(wells, rois, out, *options, '--workers', 2)
    expected = contents(out)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'tcp://127.0.0.1:{free.getsockname()[1]}'
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}

    def dask(*arguments):
        return subprocess.Popen(
            [sys.executable, '-m', 'dask', *arguments], cwd=tmp_path, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    processes = [dask('scheduler', '--host', address, '--no-dashboard', '--no-show')]
    processes += [dask('worker', address, '--nthreads', '1', '--no-nanny', '--no-dashboard') for _ in range(3)]
    try:
        again = out.with_name('again')
        extraction = subprocess.Popen(command(wells, rois, again, *options, '--dask', address), stderr=subprocess.PIPE)
        journal = again / 'M1' / '.extracted'
        deadline = time.monotonic() + 120
        while not (journal.exists() and journal.read_text().count('\n') >= 1):
            assert extraction.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        processes[1].kill()
        assert extraction.wait(timeout=200) == 0, extraction.stderr.read()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert contents(again) == expected


@pytest.mark.real
def test_on_the_real_image(shared_dir, folders, run):
    """Outlines of the real set, through ImageJ's and the published format, give the same dataset."""
    source = shared_dir / 'data' / 'real_trap'
    wells, rois, out = folders
    (wells / 'img_real.tif').symlink_to(source / 'oc_finder_example.tif')
    (rois / 'real_RoiSet.zip').symlink_to(source / 'oc_finder_example_RoiSet.zip')
    _, _, status = run(wells, rois, out)
    assert status == 0
    of_zip = read(out)
    assert len({each['cell_name'] for each in of_zip['annotations']}) == 13
    (rois / 'real_RoiSet.zip').unlink()
    (rois / 'roi_real.csv').symlink_to(source / 'oc_finder_example_rois.csv')
    run(wells, rois, out)
    assert [each['area'] for each in read(out)['annotations']] == [each['area'] for each in of_zip['annotations']]
    image = of_zip['images'][0]
    pixels = cv2.imread(str(out / 'M1' / image['file_name']))[..., ::-1]
    whole = tifffile.imread(source / 'oc_finder_example.tif')
    np.testing.assert_array_equal(pixels, whole[image['y'] : image['y'] + 832, image['x'] : image['x'] + 832])


def test_an_assumed_pixel_size_never_looks_known(folders, run):
    add_well(folders, 'a')
    wells, rois, out = folders
    _, errors, status = run(wells, rois, out, *SMALL)
    assert status == 0 and any('0.7784 um is assumed' in line for line in errors)
    (well,) = json.loads((out / 'M1' / 'wells.json').read_text())
    assert (well['mpp_origin'], well['cell_area_um2']) == ('assumed', None)
    assert {image['mpp'] for image in read(out)['images']} == {None}
    run(wells, rois, out, *SMALL, '--assume-mpp')
    (well,) = json.loads((out / 'M1' / 'wells.json').read_text())
    assert (well['mpp_origin'], well['mpp']) == ('accepted', 0.7784)
    assert well['cell_area_um2'] > 0
    assert {image['mpp'] for image in read(out)['images']} == {0.7784}


def test_what_readers_say_is_recorded(folders, run):
    """In wells.json for each well, in annotations.json for the folder."""
    add_well(folders, 'a')
    wells, rois, out = folders
    (rois / 'b7.zip').write_bytes(b'')
    (wells / 'a_labels.tif').write_bytes(b'')
    write_geojson(rois / 'a.geojson', [Outline(shapely.box(5, 5, 50, 50))], nuclei_px=np.array([[9.0, 9.0]]))
    for other in rois.glob('a*'):
        if other.name != 'a.geojson':
            other.unlink()
    _, _, status = run(wells, rois, out, *SMALL)
    assert status == 0
    (well,) = json.loads((out / 'M1' / 'wells.json').read_text())
    assert well['notes'] == ['left out: 1 nuclei (points)']
    notes = read(out)['info']['notes']
    assert len(notes) == 2 and 'a_labels.tif' in notes[0] and 'b7.zip' in notes[1]
