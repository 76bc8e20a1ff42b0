import json
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile

SMALL = ('--size', '320', '--wells', '1')


def synthesize(repo_dir: Path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(repo_dir / 'data_prep' / 'synthesize.py'), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=repo_dir.parent)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def drawn(repo_dir, tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp('cultures')
    result = synthesize(repo_dir, out, *SMALL, '--batches', 'M2', 'H2', '--workers', 1)
    assert result.returncode == 0, result.stderr
    return out, result.stdout


def test_writes_five_files_for_each_well(drawn):
    out, text = drawn
    suffixes = {'wells': 'tif', 'rois': 'zip', 'nuclei': 'csv', 'labels': 'tif', 'truth': 'json'}
    names = {f'{batch}/{folder}/{batch}_w01.{suffix}' for batch in ('M2', 'H2') for folder, suffix in suffixes.items()}
    assert set(files(out)) == names
    assert tifffile.imread(out / 'M2/wells/M2_w01.tif').shape == (320, 320, 3)
    assert 'M2_w01: ' in text and '2/2 wells' in text and 'MPx/s' in text


def test_several_processes_write_the_same_bytes(drawn, repo_dir, tmp_path):
    result = synthesize(repo_dir, tmp_path, *SMALL, '--batches', 'M2', 'H2', '--workers', 2)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path) == files(drawn[0])


def test_finished_wells_are_not_drawn_again(drawn, repo_dir):
    out, _ = drawn
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.tif')}
    result = synthesize(repo_dir, out, *SMALL, '--batches', 'M2', 'H2')
    assert result.returncode == 0
    assert result.stdout.strip() == '2 wells of 320 x 320 px, 2 of them done before'
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.tif')} == before


def test_domain_shift_changes_human_batches_alone(drawn, repo_dir, tmp_path):
    result = synthesize(repo_dir, tmp_path, *SMALL, '--batches', 'M2', 'H2', '--domain-shift', 0.5, '--workers', 1)
    assert result.returncode == 0, result.stderr
    before, after = (files(folder) for folder in (drawn[0], tmp_path))
    assert after['M2/wells/M2_w01.tif'] == before['M2/wells/M2_w01.tif']
    assert after['H2/wells/H2_w01.tif'] != before['H2/wells/H2_w01.tif']


def test_version_is_the_hash_that_is_stored_with_each_well(drawn, repo_dir):
    stored = json.loads((drawn[0] / 'M2/truth/M2_w01.json').read_text())['generator_hash']
    assert synthesize(repo_dir, '--version').stdout.split() == ['sample_cultures', stored]


def test_nuclei_points_for_some_wells_only(repo_dir, tmp_path):
    result = synthesize(repo_dir, tmp_path, *SMALL, '--batches', 'M1', '--nuclei-wells', 0, '--workers', 1)
    assert result.returncode == 0
    assert not (tmp_path / 'M1' / 'nuclei').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--batches', 'M6'), "unknown batch 'M6'"),
        (('--size', '255'), '--size 255: too small. Choose 256 or more.'),
        (('--size', '1000000000000'), '--size 1000000000000: too large. Choose 200000 or less.'),
        (('--wells', '0'), '--wells 0: too small'),
        (('--workers', '0'), '--workers 0: too small'),
        (('--seed', '-1'), '--seed -1: too small'),
        (('--nuclei-wells', '-1'), '--nuclei-wells -1: too small'),
        (('--domain-shift', '3'), '--domain-shift must be between 0 and 2 (got 3)'),
        (('--preset', 'huge'), 'invalid choice'),
    ],
)
def test_bad_options(repo_dir, tmp_path, arguments, message):
    result = synthesize(repo_dir, tmp_path / 'out', *arguments)
    assert result.returncode == 2
    assert message in result.stderr and 'Traceback' not in result.stderr
    assert not (tmp_path / 'out').exists()


def test_output_that_cannot_be_made(repo_dir, tmp_path):
    (tmp_path / 'file').write_text('')
    result = synthesize(repo_dir, tmp_path / 'file' / 'out', *SMALL)
    assert result.returncode == 2
    assert 'cannot write here' in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_other_settings_in_the_same_folder(drawn, repo_dir):
    result = synthesize(repo_dir, drawn[0], '--size', 512, '--wells', 1, '--batches', 'M2')
    assert result.returncode == 2
    assert 'drawn with size_px 320 and not 512' in result.stderr
