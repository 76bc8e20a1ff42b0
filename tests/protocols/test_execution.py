"""Plans carried out with stand-ins for the tools: what is run, what is left out, and what is refused."""

import shlex
import shutil
from pathlib import Path

import pytest

from noise_mm.errors import InputError
from noise_mm.protocols.execution import dry_run, run
from noise_mm.protocols.launch import Launcher, at_work
from noise_mm.protocols.plan import data_of, plan

DETECTOR, PRETRAIN = 'nuclei_detector_yolov8-l', 'pretrain_osteoclast-nuclei_yolov8-l'
RUNS = Path('runs')
M2H = [
    ('train', DETECTOR, False),
    ('pseudo_label', DETECTOR, False),
    ('train', PRETRAIN, False),
    ('train', 'noise_m2h', False),
    ('test', 'noise_m2h', False),
]


@pytest.fixture
def start(tools, make_study):
    """`start(protocol, method, resume=True, **changes of the study)` -> the commands that were run."""

    def make(protocol='m2h', method='noise', resume=True, **changes):
        tools.ran.clear()
        study = make_study(protocol, method, **changes)
        run(plan(study, data_of(study)), Launcher(), resume)
        return list(tools.ran)

    return make


def fail_at(tools, start, number, **changes):
    tools.failing = number
    with pytest.raises(InputError, match='stopped'):
        start(**changes)
    tools.failing = None


def test_what_is_done_is_not_done_again(start):
    assert start() == M2H
    assert start() == []


def test_protocols_share_the_mouse_stages(start):
    start('m2h')
    assert [name for _, name, _ in start('h2h')] == ['noise_h2h_H1'] * 2 + ['noise_h2h_H2'] * 2


@pytest.mark.parametrize('number', range(5))
def test_what_was_cut_goes_on(start, tools, number):
    fail_at(tools, start, number)
    tool, name, _ = M2H[number]
    before = [M2H[1]] if number == 2 else []  # whether labels are up to date is for that tool to say
    assert start() == [*before, (tool, name, tool == 'train'), *M2H[number + 1 :]]
    assert start() == []


def test_what_was_cut_begins_anew_on_request(start, tools):
    fail_at(tools, start, 3)
    assert start(resume=False) == M2H[3:]


def test_cut_before_its_first_checkpoint_begins_anew(start, tools):
    fail_at(tools, start, 0)
    (RUNS / DETECTOR / 'last_checkpoint').unlink()
    assert start() == M2H


def test_other_settings_are_refused_before_anything_runs(start, tools):
    start('m2h')
    with pytest.raises(InputError, match=rf'runs/{DETECTOR}: .*\(max_epochs: 100 -> 5;.*--work-dir'):
        start('h2h', cfg_options=('max_epochs=5',))
    assert tools.ran == []
    with pytest.raises(InputError, match=r'--amp: false -> true'):
        start(amp=True)


def test_other_settings_of_a_cut_run_are_refused_unless_it_begins_anew(start, tools):
    fail_at(tools, start, 0)
    with pytest.raises(InputError, match='max_epochs'):
        start(cfg_options=('max_epochs=5',))
    assert start(cfg_options=('max_epochs=5',), resume=False) == M2H


def test_other_way_of_measuring_only_scores_again(start):
    start()
    assert start(cfg_options=('test_evaluator.mode=ultralytics',)) == M2H[-1:]


def test_other_test_data_only_score_again(start, data_root):
    start()
    assert start(human=('H1',)) == M2H[-1:]
    (data_root / 'H1' / 'annotations.json').write_text('{}')
    assert start(human=('H1',)) == M2H[-1:]
    assert start(human=('H1',)) == []


def test_deleted_metrics_are_made_again(start):
    start()
    (RUNS / 'noise_m2h' / 'metrics.json').unlink()
    assert start() == M2H[-1:]


def test_changed_patches_are_named(start, data_root):
    start()
    (data_root / 'M2' / 'annotations.json').write_text('{}')
    with pytest.raises(
        InputError, match=rf'{DETECTOR}: was trained from other files: annotation M2/annotations.json .* has changed'
    ):
        start()


def test_stage_trained_again_makes_the_later_ones_stale(start, tools):
    start()
    shutil.rmtree(RUNS / DETECTOR)
    with pytest.raises(InputError, match=rf'{PRETRAIN}: was trained from .*{DETECTOR}, which is not finished'):
        start()
    assert tools.ran == []

    # As if stage 2 had been trained again by hand, with the same settings.
    shutil.rmtree(RUNS)
    start()
    kept = (RUNS / 'noise_m2h').rename('kept')
    shutil.rmtree(RUNS / PRETRAIN)
    start()
    shutil.rmtree(RUNS / 'noise_m2h')
    kept.rename(RUNS / 'noise_m2h')
    with pytest.raises(InputError, match=rf'noise_m2h: was trained from .*initial checkpoint 1 .*{PRETRAIN}'):
        start()
    shutil.rmtree(RUNS / 'noise_m2h')
    assert start() == M2H[3:]


def test_metrics_of_a_former_training_are_made_again(start):
    start()
    former = (RUNS / 'noise_m2h' / 'metrics.json').read_text()
    shutil.rmtree(RUNS / 'noise_m2h')
    start()
    (RUNS / 'noise_m2h' / 'metrics.json').write_text(former)
    assert start() == M2H[-1:]


def test_studies_in_other_folders_have_labels_of_their_own(start, tools):
    fail_at(tools, start, 2)
    labels = (RUNS / 'pseudo' / 'M1.json').read_text()
    start(root=Path('other'), epochs=(5,))
    assert (RUNS / 'pseudo' / 'M1.json').read_text() == labels != Path('other/pseudo/M1.json').read_text()
    assert start() == [M2H[1], ('train', PRETRAIN, True), *M2H[3:]]


def test_edited_labels_are_named(start):
    start()
    path = RUNS / 'pseudo' / 'M3.json'
    path.write_text(path.read_text() + ' ')
    with pytest.raises(InputError, match=rf'{PRETRAIN}: .*annotation pseudo/M3.json \(.*{path}\) has changed'):
        start()


def test_data_that_were_removed_after_the_training_are_not_missed(start, data_root):
    start()
    shutil.rmtree(data_root)
    shutil.rmtree(RUNS / 'pseudo')
    assert start() == []


def test_a_lost_best_checkpoint_is_named(start):
    start()
    (RUNS / PRETRAIN / 'best.pth').unlink()
    with pytest.raises(InputError, match=rf'{PRETRAIN}/best.pth: no such file, but its training is finished'):
        start()


def test_coco_weights_that_came_later_are_named(start):
    start('m2h', 'yolov8')
    Path('checkpoints').mkdir()
    Path('checkpoints/yolov8n-seg.pth').touch()
    with pytest.raises(InputError, match=r'yolov8_m2h: .*checkpoints/yolov8n-seg\.pth\) was not there'):
        start('m2h', 'yolov8')


@pytest.mark.parametrize('name', ['best.pth', 'last_checkpoint'])
def test_checkpoints_of_unknown_origin_are_refused(start, name):
    folder = RUNS / DETECTOR
    folder.mkdir(parents=True)
    (folder / name).write_text('epoch_3.pth')
    with pytest.raises(InputError, match=rf'{DETECTOR}: holds checkpoints, but no record'):
        start()


def test_training_that_leaves_no_record_is_no_success(start, tools, monkeypatch):
    monkeypatch.setattr(tools, '_train', lambda words, folder, fails: None)
    with pytest.raises(InputError, match='ended without a record'):
        start()


def test_two_at_work_in_one_folder(start):
    with at_work(RUNS / DETECTOR), pytest.raises(InputError, match='another run_protocol is at work'):
        start()
    assert start() == M2H


def test_dry_run_says_what_would_run(start, tools, make_study, capsys):
    study = make_study('m2h', 'noise')
    steps = plan(study, data_of(study))
    dry_run(steps, Launcher(), resume=True)
    lines = capsys.readouterr().out.splitlines()
    assert [shlex.split(line)[1].rpartition('/')[2] for line in lines] == [f'{tool}.py' for tool, _, _ in M2H]
    fail_at(tools, start, 2)
    capsys.readouterr()
    dry_run(steps, Launcher(), resume=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith('# done: ') for line in lines] == [True, False, False, False, False]
    assert shlex.split(lines[2]).count('--resume') == 1
    start()
    capsys.readouterr()
    dry_run(steps, Launcher(), resume=True)
    assert all(line.startswith('# done: ') for line in capsys.readouterr().out.splitlines())
