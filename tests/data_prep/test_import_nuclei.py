import json
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from shapely import box

from noise_mm.formats.geojson import write_geojson
from noise_mm.formats.imagej_points import write_multi_point
from noise_mm.formats.via import ViaPoint
from noise_mm.geometry.outline import Outline
from tests.fixtures.files import read_batch, write_via


@dataclass
class Result:
    """How a command ended: exit status and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(repo_dir, tmp_path, monkeypatch, capsys):
    """Runs the command with `--images images` and `--out out`, in a temporary folder and in this process."""

    def call(*options):
        script = str(repo_dir / 'data_prep' / 'import_nuclei.py')
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [script, '--images', 'images', '--out', 'out', *map(str, options)])
        try:
            runpy.run_path(script, run_name='__main__')
            returncode = 0
        except SystemExit as end:
            returncode = end.code
        return Result(returncode, *capsys.readouterr())

    return call


@pytest.fixture
def add_image(tmp_path):
    """Writes an image of noise into `images/` and returns its pixels, RGB."""

    def add(name, width, height):
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels[..., ::-1])
        return pixels

    return add


def _fails(result, *words):
    """Asserts that the command refused its input with one line that has all the words."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1
    for word in words:
        assert word in result.stderr


def test_points_become_boxes_in_patches(run, add_image, tmp_path):
    add_image('M1/a.png', 832, 832)
    pixels = add_image('M1/b.png', 1000, 900)
    add_image('M2/a.png', 300, 200)
    write_via(tmp_path / 'images/M1/via.csv', {'a.png': [ViaPoint(5, 400)], 'b.png': [ViaPoint(500, 890)]})
    write_via(tmp_path / 'images/M2/via.json', {'a.png': [ViaPoint(300, 200), ViaPoint(9, 9), ViaPoint(9, 9)]})
    result = run('--via', 'images/M1/via.csv', 'images/M2/via.json', '--mpp', 0.7784, '--seed', 3)
    assert result.returncode == 0, result.stderr
    assert '4 nuclei in 3 images' in result.stdout
    assert 'a.png: 1 points stand at the same place' in result.stdout

    dataset, wells = read_batch(tmp_path / 'out/nuclei')
    assert [(well['well'], well['width'], well['mpp']) for well in wells] == [
        ('M1-a', 832, 0.7784),
        ('M1-b', 1000, 0.7784),
        ('M2-a', 300, 0.7784),
    ]
    places = [(image['batch'], image['well'], image['x'], image['y'], image['width']) for image in dataset['images']]
    assert places == [
        ('M1', 'M1-a', 0, 0, 832),
        ('M1', 'M1-b', 0, 0, 832),
        ('M1', 'M1-b', 168, 0, 832),
        ('M1', 'M1-b', 0, 68, 832),
        ('M1', 'M1-b', 168, 68, 832),
        ('M2', 'M2-a', 0, 0, 300),
    ]
    assert [image['mpp'] for image in dataset['images']] == [0.7784] * 6
    assert [(a['image_id'], a['category_id'], a['bbox'], a['area']) for a in dataset['annotations']] == [
        (1, 2, [0, 382, 23, 36], 23 * 36),
        (4, 2, [482, 804, 36, 28], 36 * 28),
        (5, 2, [314, 804, 36, 28], 36 * 28),
        (6, 2, [282, 182, 18, 18], 18 * 18),
        (6, 2, [0, 0, 27, 27], 27 * 27),
    ]
    for image in dataset['images']:
        stored = cv2.imread(str(tmp_path / 'out/nuclei' / image['file_name']))
        assert stored.shape == (image['height'], image['width'], 3)
    corner = cv2.imread(str(tmp_path / 'out/nuclei' / dataset['images'][4]['file_name']))[..., ::-1]
    np.testing.assert_array_equal(corner, pixels[68:900, 168:1000])


def test_split_is_by_image_and_follows_the_seed(run, add_image, tmp_path):
    for number in range(10):
        add_image(f'{number}.png', 900, 40)
    write_via(tmp_path / 'via.json', {f'{number}.png': [ViaPoint(20, 20)] for number in range(10)})
    splits = []
    for seed in (1, 1, 2):
        result = run('--via', 'via.json', '--seed', seed, '--batch', 'M3', '--mpp', 0.7784)
        assert result.returncode == 0, result.stderr
        dataset, _ = read_batch(tmp_path / 'out/nuclei')
        splits.append({(image['well'], image['split']) for image in dataset['images']})
        (tmp_path / 'out/nuclei').rename(tmp_path / f'out/done{len(splits)}')
    assert all(len(split) == 10 for split in splits)  # both patches of an image are on one side
    assert [sum(part == 'val' for _, part in split) for split in splits] == [2, 2, 2]
    assert splits[0] == splits[1] != splits[2]


def test_another_magnification_is_resampled(run, add_image, tmp_path):
    add_image('a.png', 400, 300)
    write_via(tmp_path / 'via.csv', {'a.png': [ViaPoint(100, 50)]})
    result = run('--via', 'via.csv', '--mpp', 2 * 0.7784, '--box-um', 20 * 0.7784, '--val-fraction', 0)
    assert result.returncode == 0, result.stderr
    dataset, wells = read_batch(tmp_path / 'out/nuclei')
    (image,), (annotation,) = dataset['images'], dataset['annotations']
    assert (image['width'], image['height'], image['split']) == (800, 600, 'train')
    assert image['mpp'] == pytest.approx(0.7784)
    assert wells[0]['mpp'] == pytest.approx(2 * 0.7784)
    assert annotation['bbox'] == pytest.approx([190, 90, 20, 20])


def test_images_without_points_are_left_out_loudly(run, add_image, tmp_path):
    add_image('a.png', 40, 40)
    add_image('b.png', 40, 40)
    write_via(tmp_path / 'via.csv', {'a.png': [ViaPoint(20, 20)], 'b.png': []})
    result = run('--via', 'via.csv', '--val-fraction', 0)
    assert 'left out, without a single point (--keep-unmarked takes them): b.png' in result.stdout
    (tmp_path / 'out/nuclei').rename(tmp_path / 'out/first')
    assert run('--via', 'via.csv', '--val-fraction', 0, '--keep-unmarked').returncode == 0
    assert len(read_batch(tmp_path / 'out/nuclei')[0]['images']) == 2


def test_bad_input_is_refused_and_nothing_is_left(run, add_image, tmp_path):
    add_image('a.png', 40, 40)
    via = tmp_path / 'via.csv'
    write_via(via, {'a.png': [ViaPoint(20, 41)]})
    _fails(run('--via', via, '--val-fraction', 0), 'via.csv', '1 points of a.png lie outside the image of 40 x 40 px')
    write_via(via, {'b.png': [ViaPoint(1, 1)], 'c.png': []})
    _fails(run('--via', via), 'via.csv: image b.png is not there', 'c.png is not there')
    add_image('M1/a.png', 40, 40)
    write_via(via, {'a.png': [ViaPoint(1, 1)]})
    _fails(run('--via', via), 'image a.png is there several times')
    beside = tmp_path / 'images' / 'M1' / 'via.csv'
    write_via(beside, {'a.png': [ViaPoint(1, 1)]})
    _fails(run('--via', beside, beside), 'stands for the same as')
    _fails(run('--via', beside), 'one image cannot be split', '--val-fraction 0')
    write_via(beside, {'a.png': []})
    _fails(run('--via', beside), 'no point in the files')
    assert not list((tmp_path / 'out').glob('*')) and not list((tmp_path / 'out').glob('.*'))


def test_damaged_image_is_named(run, add_image, tmp_path):
    add_image('a.png', 400, 400)
    path = tmp_path / 'images' / 'a.png'
    path.write_bytes(path.read_bytes()[:-5000])
    write_via(tmp_path / 'via.csv', {'a.png': [ViaPoint(20, 20)]})
    _fails(run('--via', 'via.csv', '--val-fraction', 0), 'a.png')
    assert not (tmp_path / 'out' / 'nuclei').exists()


@pytest.mark.parametrize('option', ['--box-px', '--box-um', '--mpp'])
def test_sizes_must_be_positive(run, add_image, tmp_path, option):
    add_image('a.png', 40, 40)
    write_via(tmp_path / 'via.csv', {'a.png': [ViaPoint(20, 20)]})
    _fails(run('--via', 'via.csv', option, 0), f'{option} must be positive')


def test_existing_dataset_and_missing_folder_are_refused(run, tmp_path):
    _fails(run('--via', 'via.csv'), 'images: no such folder')
    (tmp_path / 'out' / 'nuclei').mkdir(parents=True)
    (tmp_path / 'out' / 'nuclei' / 'annotations.json').write_text(json.dumps({}))
    _fails(run('--via', 'via.csv'), 'already there')


@pytest.mark.real
def test_real_points(run, shared_dir, tmp_path):
    folder = shared_dir / 'data' / 'real_trap'
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'oc_finder_example.tif').symlink_to(folder / 'oc_finder_example.tif')
    result = run('--via', folder / 'oc_finder_example_nuclei_via.csv', '--mpp', 0.7784, '--val-fraction', 0)
    assert result.returncode == 0, result.stderr
    dataset, _ = read_batch(tmp_path / 'out' / 'nuclei')
    assert '159 nuclei in 1 images' in result.stdout
    assert len(dataset['images']) == 6  # 1920 x 1440 px: three columns, two rows
    assert len(dataset['annotations']) >= 159


def test_help_from_any_folder(repo_dir, tmp_path):
    command = [sys.executable, repo_dir / 'data_prep' / 'import_nuclei.py', '--help']
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert 'example:' in result.stdout


def test_sample_cultures_are_taken_as_they_lie(run, add_image, tmp_path):
    # data_prep/synthesize.py writes a label image of the same name beside each well.
    for batch in ('M1', 'M2'):
        add_image(f'{batch}/wells/{batch}_w01.png', 100, 80)
        add_image(f'{batch}/labels/{batch}_w01.png', 100, 80)
        points = {f'{batch}_w01.png': [ViaPoint(50, 40)]}
        (tmp_path / 'images' / batch / 'nuclei').mkdir()
        write_via(tmp_path / 'images' / batch / 'nuclei' / f'{batch}_w01.csv', points)
    result = run('--via', 'images/M1/nuclei/M1_w01.csv', 'images/M2/nuclei/M2_w01.csv')
    assert result.returncode == 0, result.stderr
    dataset, _ = read_batch(tmp_path / 'out/nuclei')
    assert [image['batch'] for image in dataset['images']] == ['M1', 'M2']


@pytest.mark.parametrize('orientation', [3, 6, 8])
def test_points_are_places_in_the_image_that_a_browser_shows(run, tmp_path, orientation):
    """The one dark pixel block of a turned image is marked where it is seen; --exif stored takes points as they are."""
    stored = np.full((200, 200, 3), 230, np.uint8)
    stored[40:50, 120:130] = 0
    exif = Image.Exif()
    exif[274] = orientation
    (tmp_path / 'images').mkdir()
    Image.fromarray(stored).save(tmp_path / 'images/a.png', exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / 'images/a.png')))
    y, x = np.argwhere(shown[..., 0] == 0).mean(axis=0) + 0.5
    write_via(tmp_path / 'images/via.json', {'a.png': [ViaPoint(x, y)]})
    for exif_option, expected in (('turned', (125, 45)), ('stored', (x, y))):
        shutil.rmtree(tmp_path / 'out', ignore_errors=True)
        result = run('--via', 'images/via.json', '--val-fraction', 0, '--mpp', 0.7784, '--exif', exif_option)
        assert result.returncode == 0, result.stderr
        assert f'EXIF orientation {orientation}' in result.stderr
        dataset, (well,) = read_batch(tmp_path / 'out/nuclei')
        left, top, width, height = dataset['annotations'][0]['bbox']
        assert (left + width / 2, top + height / 2) == pytest.approx(expected)
        assert len(well['notes']) == 1


@pytest.mark.parametrize('batch', ['../../x', '/tmp/x', 'a/b', '', '.hidden'])
def test_a_batch_that_would_lead_out_of_its_folder_is_refused(run, add_image, tmp_path, batch):
    add_image('a.png', 90, 80)
    write_via(tmp_path / 'images/via.csv', {'a.png': [ViaPoint(5, 40)]})
    before = sorted(tmp_path.rglob('*'))
    _fails(run('--via', 'images/via.csv', '--val-fraction', 0, '--batch', batch), '--batch', 'becomes a folder name')
    assert sorted(tmp_path.rglob('*')) == before


def test_points_of_imagej_and_qupath_give_the_boxes_that_via_gives(run, add_image, tmp_path):
    """As predictions hold them: `<well>_nuclei.roi`, and points in `<well>.geojson`."""
    points = [(100, 50), (300.25, 200.5)]
    for name in ('a', 'b', 'c'):
        add_image(f'M1/{name}.png', 416, 416)
    write_via(tmp_path / 'a.csv', {'a.png': [ViaPoint(*point) for point in points]})
    write_multi_point(tmp_path / 'b_nuclei.roi', points)
    write_geojson(tmp_path / 'c.geojson', [Outline(box(5, 5, 90, 90))], nuclei_px=np.array(points))
    result = run('--points', 'a.csv', 'b_nuclei.roi', 'c.geojson', '--val-fraction', 0, '--mpp', 0.7784)
    assert result.returncode == 0, result.stderr
    assert 'c.png: 1 objects that are no points are left out' in result.stderr
    dataset, wells = read_batch(tmp_path / 'out' / 'nuclei')
    boxes = {
        image['well']: [each['bbox'] for each in dataset['annotations'] if each['image_id'] == image['id']]
        for image in dataset['images']
    }
    assert boxes['M1-a'] == boxes['M1-b'] == boxes['M1-c']
    assert len(boxes['M1-a']) == 2
    assert [well['nuclei'] for well in wells] == [2, 2, 2]


def test_files_of_points_that_are_named_after_no_image_are_named(run, add_image, tmp_path):
    add_image('M1/a.png', 416, 416)
    write_multi_point(tmp_path / 'd.roi', [(1, 2)])
    _fails(run('--points', 'd.roi', '--val-fraction', 0), 'd.roi: the image that it is named after is not there')


def test_scene_of_files_that_hold_several(run, tmp_path):
    (tmp_path / 'images').mkdir()
    with tifffile.TiffWriter(tmp_path / 'images/a.tif') as file:
        for side, value in ((100, 9), (300, 200)):
            file.write(np.full((side, side, 3), value, np.uint8), photometric='rgb')
    write_via(tmp_path / 'via.csv', {'a.tif': [ViaPoint(200, 200)]})
    _fails(run('--via', 'via.csv', '--val-fraction', 0), 'a.tif: holds 2 images', '--scene 1 to 2')
    assert run('--via', 'via.csv', '--val-fraction', 0, '--scene', 2).returncode == 0
    dataset, _ = read_batch(tmp_path / 'out' / 'nuclei')
    assert [(image['width'], image['height']) for image in dataset['images']] == [(300, 300)]
