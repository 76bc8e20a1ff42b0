"""tools/score_wells.py as a user types it, with files of other programs."""

import csv
import json
import subprocess
import sys
from typing import NamedTuple

import pytest
import roifile
import shapely

from noise_mm.coco.annotations import write_coco
from noise_mm.errors import run_command
from noise_mm.geometry.outline import Outline
from noise_mm.seen_batches import MARK


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def squares(n, score=None):
    return [Outline(shapely.box(30 * k, 0, 30 * k + 20, 20), score=score) for k in range(n)]


@pytest.fixture
def plate(tmp_path):
    """Three wells: a cell too many, all right, a cell missed. Annotations are ImageJ ROIs."""
    (tmp_path / 'results').mkdir()
    (tmp_path / 'rois').mkdir()
    for well, n_found, n_annotated in (('A1', 3, 2), ('A2', 5, 5), ('B1', 7, 8)):
        path = tmp_path / 'results' / f'{well}.json'
        write_coco(path, squares(n_found, 0.5), f'{well}.tif', (300, 40), rle=True, well=well, mpp=0.5)
        for number, square in enumerate(squares(n_annotated)):
            roi = roifile.ImagejRoi.frompoints(shapely.get_coordinates(square.geometry)[:-1], name=f'{number}')
            roi.tofile(tmp_path / 'rois' / f'{well}.zip')
    (tmp_path / 'results' / 'run.json').write_text('{}')
    return tmp_path


@pytest.fixture
def score_wells(load_tool, monkeypatch, capsys, tmp_path):
    """`score_wells(*arguments)`, run in `tmp_path` -> exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['score_wells.py', *map(str, arguments)])
        status = 0
        try:
            run_command(load_tool('score_wells').main)
        except SystemExit as exit_:
            status = exit_.code or 0
        output = capsys.readouterr()
        return Done(status, output.out, output.err)

    return call


def test_scores_table_and_picture(score_wells, plate):
    done = score_wells('results', '--rois', 'rois', '--name', 'NOISe')
    assert (done.returncode, done.stderr) == (0, '')
    assert '3 wells, 15 objects, 0 ignored regions, 15 detections' in done.stdout
    folder = plate / 'results' / 'scores'
    assert {path.name for path in folder.iterdir()} == {'scores.json', 'scores_wells.csv', 'scores_agreement.png'}
    report = json.loads((folder / 'scores.json').read_text())
    assert report['segm']['mean'][4]['recall'] == report['as_predicted'][4]['precision'] == pytest.approx(14 / 15)
    assert report['agreement']['all']['area_um2']['bias'] == 0
    rows = list(csv.DictReader((folder / 'scores_wells.csv').open()))
    assert [(row['well'], row['n_annotated'], row['n_predicted']) for row in rows] == [
        ('A1', '2', '3'), ('A2', '5', '5'), ('B1', '8', '7'),
    ]  # fmt: skip
    assert float(rows[0]['area_um2_annotated']) == 200
    # Again: the same, and the scores are not taken for a well.
    assert score_wells('results', '--rois', 'rois', '--name', 'NOISe').stdout == done.stdout


def test_wells_that_lack_one_side_are_named(score_wells, plate):
    (plate / 'rois' / 'A1.zip').unlink()
    (plate / 'results' / 'B1.json').unlink()
    done = score_wells('results', '--rois', 'rois')
    assert done.returncode == 2
    assert '2 wells lack one side: A1 (no annotations), B1 (no predictions)' in done.stderr
    assert not (plate / 'results' / 'scores').exists()
    done = score_wells('results', '--rois', 'rois', '--allow-missing', '--out', 'out/a.json')
    assert done.returncode == 0, done.stderr
    assert 'left out: A1 (no annotations)' in done.stdout
    missing = json.loads((plate / 'out' / 'a.json').read_text())['missing']
    assert missing == {'without_rois': ['A1'], 'without_predictions': ['B1']}


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['results', '--rois', 'none'], 'none: not a folder'),
        (['results', '--rois', 'results'], 'holds the predictions'),
        (['results', '--rois', 'rois', '--score-thr', '2'], '--score-thr 2.0'),
        (['results', '--rois', 'rois', '--mpp', '-1'], '--mpp must be positive'),
        (['results', '--rois', 'rois', '--out', 'results/a.json'], '--out results/a.json'),
        (['results', '--rois', 'rois', '--classes', 'cell'], "there are 'osteoclast'"),
        (['results', '--rois', 'others'], 'no well has both'),
    ],
)
def test_errors_are_one_line(score_wells, plate, arguments, words):
    (plate / 'others').mkdir()
    (plate / 'others' / 'Z9.zip').touch()
    done = score_wells(*arguments)
    assert (done.returncode, done.stdout) == (2, '')
    (line,) = done.stderr.splitlines()
    assert line.startswith('error: ')
    assert words in line


@pytest.mark.parametrize('batch', ['M1', 'H1', None])
def test_wells_that_the_network_was_trained_on_are_refused_or_marked(score_wells, plate, batch):
    (plate / 'results' / 'run.json').write_text(json.dumps({'arguments': {'seen_batches': ['M1', 'M2']}}))
    for path in (plate / 'results').glob('?[12].json'):
        content = json.loads(path.read_text())
        content['images'][0].update({'batch': batch} if batch else {})
        path.write_text(json.dumps(content))
    done = score_wells('results', '--rois', 'rois', '--allow-missing')
    if batch != 'M1':
        assert done.returncode == 0
        assert ('not known. It was trained on M1, M2' in done.stdout) == (batch is None)
        assert MARK not in done.stdout
        report = json.loads((plate / 'results' / 'scores' / 'scores.json').read_text())
        assert report['run']['seen_in_training'] == (None if batch is None else [])
        return
    assert (done.returncode, f'{MARK}: batch M1 (trained on)' in done.stderr) == (2, True)
    done = score_wells('results', '--rois', 'rois', '--allow-missing', '--allow-seen')
    assert done.returncode == 0
    assert f'{MARK}: M1' in done.stdout
    assert json.loads((plate / 'results' / 'scores' / 'scores.json').read_text())['warning'] == MARK
    with open(plate / 'results' / 'scores' / 'scores_wells.csv', encoding='utf-8-sig') as file:
        assert {row['warning'] for row in csv.DictReader(file)} == {MARK}


def test_works_from_anywhere_without_the_package_installed(repo_dir, tmp_path):
    command = [sys.executable, str(repo_dir / 'tools' / 'score_wells.py'), '--help']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'example' in done.stdout
