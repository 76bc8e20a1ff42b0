import json
import runpy
import subprocess
import sys
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from tests.fixtures.files import read_batch

TRIANGLE = '0 0.1 0.1 0.5 0.1 0.5 0.5'


@dataclass
class Result:
    """How a command ended: exit status and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(repo_dir, tmp_path, monkeypatch, capsys):
    """Runs the command on `source` with `--out out`, in a temporary folder and in this process."""

    def call(*options):
        script = str(repo_dir / 'data_prep' / 'import_published.py')
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [script, 'source', '--out', 'out', *map(str, options)])
        try:
            runpy.run_path(script, run_name='__main__')
            returncode = 0
        except SystemExit as end:
            returncode = end.code
        return Result(returncode, *capsys.readouterr())

    return call


@pytest.fixture
def add_patch(tmp_path):
    """Writes a patch and its label file into `source/<batch>`; no label file if `lines` is None."""

    def add(batch, stem, lines, size_px=(832, 832)):
        for part in ('images', 'labels'):
            (tmp_path / 'source' / batch / part).mkdir(parents=True, exist_ok=True)
        pixels = np.full((size_px[1], size_px[0], 3), len(stem), np.uint8)
        cv2.imwrite(str(tmp_path / 'source' / batch / 'images' / f'{stem}.png'), pixels)
        if lines is not None:
            (tmp_path / 'source' / batch / 'labels' / f'{stem}.txt').write_text(''.join(f'{line}\n' for line in lines))

    return add


def _fails(result, *words):
    """Asserts that the command refused its input with one line that has all the words."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].startswith('error: ')
    assert 'Traceback' not in result.stderr
    for word in words:
        assert word in result.stderr


def test_the_published_layout_becomes_ours(run, add_patch, tmp_path):
    add_patch('m1', 'img_0_0_0', [TRIANGLE, '0 0.6 0.6 0.9 0.6 0.9 0.9 0.6 0.9'])
    add_patch('m1', 'img_0_2_13', [TRIANGLE])
    add_patch('m1', 'img_0_2_14', [TRIANGLE], size_px=(831, 832))
    add_patch('m2', 'img_0_0_1', [TRIANGLE])
    result = run()
    assert result.returncode == 0, result.stderr
    dataset, wells = read_batch(tmp_path / 'out' / 'M1')
    facts = [(image['file_name'], image['well'], image['x'], image['y'], image['width']) for image in dataset['images']]
    assert facts == [
        ('images/M1-0_0_0.png', 'M1-0', 0, 0, 832),
        ('images/M1-0_832_5408.png', 'M1-0', 5408, 832, 832),
        ('images/M1-0_832_5824.png', 'M1-0', 5824, 832, 831),
    ]
    assert {(image['batch'], image['mpp']) for image in dataset['images']} == {('M1', 0.7784)}
    assert [(a['id'], a['image_id'], a['category_id']) for a in dataset['annotations']] == [
        (1, 1, 1),
        (2, 1, 1),
        (3, 2, 1),
        (4, 3, 1),
    ]
    # the same fractions of 832 px also in the patch that is a pixel short
    assert [a['area'] for a in dataset['annotations']] == pytest.approx([55377.92, 62300.16, 55377.92, 55377.92])
    assert wells[0]['width'] == 5824 + 831
    report = json.loads((tmp_path / 'out/M1/import_report.json').read_text())
    assert (report['patches'], report['label_lines'], report['annotations'], report['left_out']) == (3, 4, 4, 0)
    assert report['warnings'] == {'positions_known_to_415_px': ['img_0_2_14.png']}
    assert read_batch(tmp_path / 'out' / 'M2')[1][0]['well'] == 'M2-0'  # not the well of the same number in M1
    original = tmp_path / 'source/m1/images/img_0_2_13.png'
    assert (tmp_path / 'out/M1/images/M1-0_832_5408.png').read_bytes() == original.read_bytes()


def test_what_is_odd_is_reported(run, add_patch, tmp_path):
    bow_tie, flat = '0 0.1 0.1 0.5 0.5 0.5 0.1 0.1 0.5', '0 0.1 0.1 0.2 0.2 0.3 0.3'
    beyond = '0 0.5 0.5 1.5 0.5 1.5 0.9'
    add_patch('m1', 'img_0_0_0', [TRIANGLE, TRIANGLE, bow_tie, flat, beyond])
    add_patch('m1', 'img_0_0_1', None)
    add_patch('m1', 'img_0_0_2', [], size_px=(400, 300))
    add_patch('m1', 'overview', [TRIANGLE])
    (tmp_path / 'source/m1/labels/img_9_9_9.txt').write_text(TRIANGLE)
    (tmp_path / 'source/m1/images/Thumbs.db').write_text('')
    result = run()
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / 'out/M1/import_report.json').read_text())
    assert report == {
        'patches': 4,
        'label_lines': 6,
        'annotations': 4,
        'left_out': 2,
        'warnings': {
            'images_without_labels': ['img_0_0_1.png'],
            'labels_without_image': ['img_9_9_9.txt'],
            'other_files': ['images/Thumbs.db'],
            'patches_of_other_size': ['img_0_0_2.png: 400 x 300 px'],
            'positions_known_to_415_px': ['img_0_0_2.png'],
            'names_without_position': ['overview.png'],
            'left_out_repeated': ['img_0_0_0.txt, line 2'],
            'repaired_self_crossing': ['img_0_0_0.txt, line 3'],
            'left_out_without_area': ['img_0_0_0.txt, line 4'],
            'cut_off_outside_patch': ['img_0_0_0.txt, line 5'],
        },
    }
    for kind in report['warnings']:
        assert kind.replace('_', ' ') in result.stdout
    dataset, _ = read_batch(tmp_path / 'out/M1')
    assert all(annotation['area'] > 0 for annotation in dataset['annotations'])


def test_names_with_pixels(run, add_patch, tmp_path):
    add_patch('m1', 'img_7_0_416', [TRIANGLE])
    add_patch('m1', 'img_7_0_100', [TRIANGLE])
    assert run().returncode == 0
    assert [image['x'] for image in read_batch(tmp_path / 'out/M1')[0]['images']] == [100, 416]
    (tmp_path / 'out/M1').rename(tmp_path / 'out/first')
    assert run('--names', 'count').returncode == 0
    assert [image['x'] for image in read_batch(tmp_path / 'out/M1')[0]['images']] == [100 * 416, 416 * 416]


def test_nuclei_boxes(run, add_patch, tmp_path):
    side = 36 / 832
    add_patch('m1', 'img_0_0_0', [TRIANGLE])
    add_patch('n1', 'img_0_0_0', [f'0 0.5 0.5 {side} {side}', f'0 0 0 {side} {side}'])
    add_patch('n2', 'img_0_0_0', [f'0 0.25 0.5 {side} {side}'])
    result = run('--batches', 'm1', '--nuclei', 'source/n1', 'source/n2', '--link')
    assert result.returncode == 0, result.stderr
    dataset, _ = read_batch(tmp_path / 'out/nuclei')
    assert [image['batch'] for image in dataset['images']] == ['N1', 'N2']
    assert sorted(image['split'] for image in dataset['images']) == ['train', 'val']
    assert [a['category_id'] for a in dataset['annotations']] == [2, 2, 2]
    assert dataset['annotations'][0]['bbox'] == pytest.approx([398, 398, 36, 36])
    assert dataset['annotations'][1]['bbox'] == pytest.approx([0, 0, 18, 18])
    linked = (tmp_path / 'out/M1/images/M1-0_0_0.png').stat()
    assert linked.st_ino == (tmp_path / 'source/m1/images/img_0_0_0.png').stat().st_ino


def test_a_single_batch_folder_and_chosen_batches(run, add_patch, tmp_path):
    add_patch('.', 'img_0_0_0', [TRIANGLE])
    assert run().returncode == 0
    assert (tmp_path / 'out/SOURCE/annotations.json').exists()
    add_patch('m1', 'img_0_0_0', [TRIANGLE])
    add_patch('m2', 'img_0_0_0', [TRIANGLE])
    assert run('--batches', 'm2').returncode == 0
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['M2', 'SOURCE']


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ([TRIANGLE, '0 0.1 0.1 0.5'], 'img_0_0_0.txt: line 2: 4 values'),
        ([TRIANGLE, '0 0.5 0.5 0.1 0.1'], 'img_0_0_0.txt, line 2: is a box'),
        ([TRIANGLE, TRIANGLE.replace('0 ', '1 ', 1)], 'img_0_0_0.txt, line 2: is of class 1; only 0 is known'),
        (['zero'], 'img_0_0_0.txt: line 1: not a class index and numbers'),
    ],
)
def test_bad_lines_are_named_and_nothing_is_left(run, add_patch, tmp_path, lines, message):
    add_patch('m1', 'img_0_0_0', lines)
    _fails(run(), message)
    assert not (tmp_path / 'out').exists() or not list((tmp_path / 'out').iterdir())


def test_a_damaged_patch_is_named(run, add_patch, tmp_path):
    add_patch('m1', 'img_0_0_0', [TRIANGLE])
    path = tmp_path / 'source/m1/images/img_0_0_0.png'
    path.write_bytes(path.read_bytes()[:-400])
    _fails(run(), 'img_0_0_0.png')


def test_bad_folders_are_named(run, add_patch, tmp_path):
    _fails(run(), 'source: no such folder')
    (tmp_path / 'source').mkdir()
    _fails(run(), 'holds no folder with images/ and labels/')
    (tmp_path / 'source/m1/images').mkdir(parents=True)
    _fails(run(), 'labels: no such folder')
    (tmp_path / 'source/m1/labels').mkdir()
    _fails(run(), 'holds no PNG patches')
    add_patch('m1', 'img_0_0_0', [TRIANGLE])
    _fails(run('--batches', 'm1', 'm9'), 'm9/images: no such folder')
    _fails(run('--mpp', 0), '--mpp must be positive')
    assert run().returncode == 0
    _fails(run(), 'already there')


def test_two_patches_of_one_place_are_refused(run, add_patch):
    add_patch('m1', 'img_0_0_1', [TRIANGLE])
    add_patch('m1', 'img_0_0_01', [TRIANGLE])
    _fails(run(), 'a second patch of the same place')


@pytest.mark.parametrize(
    ('options', 'function', 'remedy'),
    [([], 'shutil.copyfile', 'Make room'), (['--link'], 'os.link', 'Leave out --link')],
)
def test_patches_that_cannot_be_brought_are_named(run, add_patch, tmp_path, monkeypatch, options, function, remedy):
    def refuse(source, target):
        raise OSError(28, 'No space left on device')

    add_patch('m1', 'img_0_0_0', [TRIANGLE])
    monkeypatch.setattr(function, refuse)
    _fails(run(*options), 'img_0_0_0.png: cannot be brought', 'No space left', remedy)
    assert not list((tmp_path / 'out').iterdir())


def test_help_from_any_folder(repo_dir, tmp_path):
    command = [sys.executable, repo_dir / 'data_prep' / 'import_published.py', '--help']
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert 'example:' in result.stdout
