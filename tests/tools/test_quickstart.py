import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def quickstart(load_tool, monkeypatch):
    """tools/quickstart.py with an environment that is there already."""
    environment = load_tool('environment')
    monkeypatch.setattr(environment, 'ensure_environment', lambda: Path('python'))
    return load_tool('quickstart')


@pytest.fixture(params=[True, False], ids=['from scratch', 'from weights'])
def start(request, quickstart, tmp_path, monkeypatch):
    """A function that runs it with tools that only leave their output, and returns the exit status and their names."""
    monkeypatch.setattr(quickstart.environment, 'ROOT', tmp_path)
    out = tmp_path / 'out'
    made = {tuple(step.command): tmp_path / step.made for step in quickstart.steps(out, request.param)}
    for name in () if request.param else (quickstart.WEIGHTS, quickstart.NUCLEI_WEIGHTS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def run_main(failing=None, *options):
        ran = []

        def run(command, cwd, env):
            ran.append(Path(command[1]).stem)
            if ran[-1] == failing:
                return SimpleNamespace(returncode=3)
            path = made[tuple(command[1:])]
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == '.json':
                path.write_text(json.dumps({'segm': {'mean': [{'iou_thr': 0.5, 'ap': 0.875}]}}))
            elif path.suffix == '.csv':
                path.write_text('well,count,nuclei,pre_osteoclasts\nA1,27,200,30\n')
            else:
                path.touch()
            return SimpleNamespace(returncode=0)

        monkeypatch.setattr(quickstart.subprocess, 'run', run)
        monkeypatch.setattr(sys, 'argv', ['quickstart.py', '--out', str(out), *options])
        return quickstart.main(), ran

    run_main.out, run_main.best = out, out / ('training' if request.param else 'finetuning') / 'best.pth'
    return run_main


def test_steps_run_once_and_in_order(start):
    status, ran = start()
    assert status == 0
    assert ran[0] == 'synthesize' and ran[-3:] == ['train', 'test', 'predict']
    assert start() == (0, [])


def test_failed_step_stops_and_is_taken_up_again(start):
    status, ran = start(failing='train')
    assert status == 3
    assert ran[-1] == 'train'
    assert start() == (0, ['train', 'test', 'predict'])


def test_step_whose_output_is_gone_is_repeated_with_all_after_it(start, tmp_path):
    start()
    start.best.unlink()
    assert start()[1] == ['train', 'test', 'predict']


def test_step_cut_short_while_repeated_is_not_taken_for_done(start, tmp_path):
    start()
    start.best.unlink()
    start(failing='train')
    start.best.touch()
    assert start()[1] == ['train', 'test', 'predict']


def test_changed_command_is_run_again(start, quickstart, tmp_path):
    start()
    done = json.loads((start.out / quickstart.DONE_FILE).read_text())
    done['train'].append('--amp')
    (start.out / quickstart.DONE_FILE).write_text(json.dumps(done))
    assert start()[1] == ['train', 'test', 'predict']


def test_results_are_named_at_the_end(start, tmp_path, capsys):
    start()
    out = capsys.readouterr().out
    assert str(start.out / 'predictions' / 'wells.csv') in out.split('Look at:')[1]
    assert '27 osteoclasts found' in out and 'after the training 0.88' in out


def test_deleted_output_folder_starts_from_nothing(start, tmp_path):
    _, ran = start()
    for path in start.out.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert start()[1] == ran


def test_commands_have_short_paths_inside_the_repository(quickstart, repo_dir, tmp_path):
    words = [word for step in quickstart.steps(repo_dir / 'quickstart', False) for word in step.command]
    assert 'quickstart/cultures' in words
    assert not any(str(repo_dir) in word for word in words)
    assert str(tmp_path / 'cultures') in quickstart.steps(tmp_path, False)[0].command


def test_weights_are_used_unless_they_are_missing_or_not_wanted(quickstart, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quickstart.environment, 'ROOT', tmp_path)
    plans = []
    monkeypatch.setattr(quickstart, 'run_steps', lambda plan, *rest: plans.append([step.name for step in plan]) or 1)

    def planned(*options):
        monkeypatch.setattr(sys, 'argv', ['quickstart.py', '--out', str(tmp_path / 'out'), *options])
        quickstart.main()
        return 'test the weights' in plans[-1], 'training from scratch' in capsys.readouterr().out

    assert planned() == (False, True)
    for name in (quickstart.WEIGHTS, quickstart.NUCLEI_WEIGHTS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert planned() == (True, False)
    assert planned('--from-scratch') == (False, False)


def test_folder_that_cannot_be_made_is_refused(quickstart, tmp_path, monkeypatch, capsys):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(sys, 'argv', ['quickstart.py', '--out', str(tmp_path / 'file' / 'out')])
    with pytest.raises(SystemExit) as stop:
        quickstart.main()
    assert stop.value.code == 2
    assert 'Name another folder with --out' in capsys.readouterr().err


@pytest.mark.parametrize(('seconds', 'text'), [(0.4, '0 s'), (59.4, '59 s'), (60, '1 min 0 s'), (119.7, '2 min 0 s')])
def test_duration(quickstart, seconds, text):
    assert quickstart.duration(seconds) == text


@pytest.mark.parametrize('text', ['', '{'])
def test_unreadable_note_means_nothing_is_done(quickstart, tmp_path, text):
    (tmp_path / quickstart.DONE_FILE).write_text(text)
    assert quickstart.read_done(tmp_path) == {}
