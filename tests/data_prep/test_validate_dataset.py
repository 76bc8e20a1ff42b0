import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
import tifffile

from noise_mm.formats.imagej import write_imagej
from noise_mm.geometry.outline import Outline
from noise_mm.patches.extraction import Request, extract
from noise_mm.patches.layout import PatchSettings

SCRIPTS = Path(__file__).resolve().parents[2] / 'data_prep'
BATCHES = {'M1': 3, 'M2': 2}


def python(script, *arguments, cwd=None):
    """Standard output, lines of standard error, and exit status."""
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)
    assert 'Traceback' not in done.stderr, done.stderr
    return done.stdout, done.stderr.splitlines(), done.returncode


def validate(*arguments, cwd=None):
    return python('validate_dataset.py', *arguments, cwd=cwd)


def draw_well(folder, well, rng):
    """A well of 260 x 180 px with three cells, its ROIs, and two nuclei in each cell."""
    cells = [shapely.Point(*centre).buffer(25) for centre in ((60, 60), (150, 110), (255, 60))]
    cells = [cell.intersection(shapely.box(0, 0, 260, 180)) for cell in cells]
    for part in ('wells', 'rois', 'marked'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        folder / 'wells' / f'{well}.tif', rng.integers(0, 255, (180, 260, 3), dtype=np.uint8), photometric='rgb'
    )
    write_imagej(folder / 'rois' / f'{well}.zip', [Outline(cell) for cell in cells])


@pytest.fixture(scope='session')
def extracted(tmp_path_factory):
    """A dataset as the other commands of data_prep write it."""
    root = tmp_path_factory.mktemp('extracted')
    rng = np.random.default_rng(0)
    for batch, wells in BATCHES.items():
        for number in range(wells):
            draw_well(root / batch, f'{batch}_w{number}', rng)
        settings = PatchSettings(patch_px=100, stride_px=50)
        extract(
            Request(root / batch / 'wells', root / batch / 'rois', batch, root / 'data', settings, um_per_px=0.7784)
        )
    marked = root / 'marked'
    for batch in BATCHES:
        (marked / batch).mkdir(parents=True)
        for number in range(2):
            name = f'n{number}.png'
            cv2.imwrite(str(marked / batch / name), rng.integers(0, 255, (90, 90, 3), dtype=np.uint8))
        regions = [
            {'shape_attributes': {'name': 'point', 'cx': x, 'cy': 45}, 'region_attributes': {}} for x in (20, 40, 60)
        ]
        entries = {
            f'n{number}.png': {'filename': f'n{number}.png', 'size': 1, 'regions': regions, 'file_attributes': {}}
            for number in range(2)
        }
        (marked / batch / 'via.json').write_text(json.dumps(entries))
    via = [marked / batch / 'via.json' for batch in BATCHES]
    _, errors, status = python('import_nuclei.py', '--images', marked, '--via', *via, '--out', root / 'data')
    assert status == 0, errors
    return root / 'data'


@pytest.fixture
def dataset(extracted, tmp_path):
    return Path(shutil.copytree(extracted, tmp_path / 'data'))


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_the_other_commands_write_is_right(dataset, tmp_path):
    """Counts against what was drawn, and pictures; called from another folder, and without --workers to spare."""
    before = {path: path.read_bytes() for path in dataset.rglob('*') if path.is_file()}
    stdout, errors, status = validate(dataset, '--pictures', 'pictures', '--fix', '--workers', 1, cwd=tmp_path)
    assert status == 0
    assert stdout.splitlines()[-1] == f'{dataset}: nothing is wrong'
    lines = {line.split()[0]: line.split() for line in stdout.splitlines() if line.startswith(('M1', 'M2'))}
    assert lines['M2'][:1] + lines['M2'][5:6] == ['M2', '6']  # the table of nuclei comes last
    osteoclasts = next(line.split() for line in stdout.splitlines() if line.startswith('M1'))
    assert osteoclasts[1] == '3' and osteoclasts[3:5] == ['9', '3.0']
    assert "note: overlap with split_unit='patch'" in stdout and 'issue:' not in stdout
    assert errors[-1].startswith('decoding: ') and 'patches/s' in errors[-1]
    assert {path.name for path in (tmp_path / 'pictures').iterdir()} == {'histograms.png', 'contact_sheet.png'}
    assert {path: path.read_bytes() for path in dataset.rglob('*') if path.is_file()} == before


def test_all_issues_are_listed_in_one_run(dataset):
    images = sorted((dataset / 'M1' / 'images').iterdir())
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:-50])
    shutil.copyfile(images[2], dataset / 'M1' / 'images' / 'extra.png')

    def spoil(content):
        entries = content['annotations']
        entries[0]['id'] = 0
        entries[1]['segmentation'] = [[10, 10, 30, 30, 30, 10, 10, 30]]
        for entry in entries[4:16]:
            entry['area'] = 0.5

    edit(dataset / 'M1' / 'annotations.json', spoil)
    stdout, errors, status = validate(dataset, '--limit', 3)
    assert status == 2
    titles = ['missing image (1)', 'corrupt image (1)', 'id below 1 (1)', 'outline that crosses itself (1)',
              'area that is not that of the outline or box (12)']  # fmt: skip
    for title in titles:
        assert f'issue: {title}.' in stdout
    assert 'note: image that no annotation file lists (1).' in stdout
    assert f'  M1/images/{images[0].name}: listed in M1/annotations.json as image 1, but not there' in stdout
    assert '  ... and 9 more' in stdout
    assert errors[-1] == f'error: {dataset}: 16 issues, listed above. --fix puts 13 of them right.'
    assert '\nosteoclasts\n' in stdout  # the counts are printed all the same


def test_fix(dataset):
    def spoil(content):
        content['annotations'][1]['segmentation'] = [[10, 10, 30, 30, 30, 10, 10, 30]]
        content['annotations'][2]['area'] = 1
        content['annotations'].append({**content['annotations'][0], 'id': 999})

    file = dataset / 'M1' / 'annotations.json'
    edit(file, spoil)
    before = file.read_bytes()
    stdout, _, status = validate(dataset, '--fix', '--limit', 2)
    assert status == 0 and 'nothing is wrong' in stdout
    assert 'M1/annotations.json: put right (3); the file as it was is kept beside it' in stdout
    assert '  ... and 1 more' in stdout
    assert (dataset / 'M1' / 'annotations.json.bak').read_bytes() == before
    assert validate(dataset)[2] == 0


def test_fix_that_leaves_issues(dataset):
    edit(dataset / 'M1' / 'annotations.json', lambda content: content['annotations'][0].update(id=0, area=1))
    stdout, errors, status = validate(dataset, '--fix')
    assert status == 2 and 'put right (1)' in stdout
    assert errors[-1] == f'error: {dataset}: 1 issue, listed above. Put them right as said above each kind.'


def test_batch_that_is_there_twice(dataset):
    shutil.copytree(dataset / 'M1', dataset / 'M3')
    edit(dataset / 'M3' / 'annotations.json', lambda content: [image.update(batch='M3') for image in content['images']])
    stdout, _, status = validate(dataset)
    assert status == 2
    assert "well 'M1_w0': is in M1 and M3" in stdout
    assert 'issue: same picture twice' in stdout
    assert 'issue: training and validation overlap' in stdout


def test_different_wells_of_one_name(dataset):
    def rename(entries):
        for entry in entries:
            entry['well'] = entry['well'].replace('M2', 'M1')

    edit(dataset / 'M2' / 'annotations.json', lambda content: rename(content['images']))
    edit(dataset / 'M2' / 'wells.json', rename)
    stdout, _, status = validate(dataset)
    assert status == 2 and 'issue: same well in two batches (2).' in stdout
    assert validate(dataset, '--shared-well-names')[2] == 0


def test_pseudo_labels_of_patches_that_are_not_in_the_batch(dataset):
    (dataset / 'pseudo').mkdir()
    shutil.copyfile(dataset / 'M1' / 'annotations.json', dataset / 'pseudo' / 'M2.json')
    stdout, _, status = validate(dataset)
    assert status == 2
    assert 'batch M2 does not list this patch' in stdout
    assert 'issue: empty category (1).' in stdout and 'pseudo/M2.json: has no nucleus' in stdout


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('none',), 'none: no such folder. Give the folder that holds the batch folders.'),
        (('.',), 'no annotations.json in any folder'),
        (('.', '--workers', '0'), '--workers and --limit must be at least 1'),
        (('.', '--val-fraction', '1'), '--val-fraction must lie between 0 and 1, got 1.0'),
        ((), 'DATA_ROOT'),
    ],
)
def test_bad_options(tmp_path, options, message):
    _, errors, status = validate(*options, cwd=tmp_path)
    assert status == 2 and message in errors[-1]


def test_help_has_an_example():
    stdout, _, status = validate('--help')
    assert status == 0 and 'example:' in stdout and '--fix' in stdout


def test_needs_no_torch(dataset):
    """Datasets are prepared on computers without it."""
    code = (
        'import runpy, sys\n'
        f'sys.argv = ["validate_dataset.py", {str(dataset)!r}]\n'
        f'runpy.run_path({str(SCRIPTS / "validate_dataset.py")!r}, run_name="__main__")\n'
        'assert not {"torch", "mmengine", "mmdet", "matplotlib"} & set(sys.modules), "imported"'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
