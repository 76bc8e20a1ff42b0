"""A batch that is both trained on and tested: refused by each tool, or marked wherever its numbers stand."""

import json
import logging
import shutil
import sys
from pathlib import Path

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.registry import RUNNERS
from mmyolo.registry import METRICS

from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.configuration import load_config
from noise_mm.errors import InputError, run_command

MARK = 'test data seen in training'


@pytest.fixture
def run(load_tool, monkeypatch, capsys):
    """`run(tool, *arguments)` -> exit status, standard output, last line of standard error."""
    monkeypatch.setattr(logging, 'raiseExceptions', False)

    def start(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
        try:
            run_command(load_tool(tool).main)
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
        output = capsys.readouterr()
        return status, output.out, (output.err.splitlines() or [''])[-1]

    return start


@pytest.fixture(scope='module')
def trained(tiny_config, tmp_path_factory):
    """The folder of a run on M1 that tests M2."""
    from noise_mm.configuration import load_config
    from noise_mm.training.run import train

    config = load_config(tiny_config, {'max_epochs': 1})
    config.work_dir, config.launcher = str(tmp_path_factory.mktemp('runs') / 'first'), 'none'
    train(config)
    return Path(config.work_dir)


def assert_refused(result, *words):
    status, _, line = result
    assert (status, MARK in line) == (2, True), line
    for word in words:
        assert word in line


def test_train_and_test_refuse_it_before_anything_is_written(run, tiny_config, trained, tmp_path):
    work = ['--work-dir', tmp_path / 'work']
    same = ['--cfg-options', 'train_batches=[M2,M1]']
    assert_refused(run('train', tiny_config, *work, *same), 'M2', '--allow-seen')
    assert_refused(run('test', tiny_config, trained / 'best.pth', *work, *same), 'M2', '--allow-seen')
    assert_refused(run('test', tiny_config, '--results', 'x.json', '--name', 'x', *work, *same), 'M2')
    alone = ['--cfg-options', 'test_batches=[M1]', 'split_unit=patch']
    assert_refused(run('train', tiny_config, *work, *alone), 'M1')
    assert not (tmp_path / 'work').exists() or not list((tmp_path / 'work').rglob('*.*'))


def test_a_checkpoint_knows_what_it_was_trained_on(run, tiny_config, trained, tiny_data, tmp_path):
    """Whatever the config that it is tested with says, and where its file lies."""
    checkpoint = shutil.copy(trained / 'best.pth', tmp_path / 'renamed.pth')
    other = ['--work-dir', tmp_path / 'work', '--cfg-options', 'test_batches=[M1]', 'train_batches=[M2]']
    assert_refused(run('test', tiny_config, checkpoint, *other), 'renamed.pth', 'batch M1 (trained on)')
    content = load_checkpoint_file(checkpoint)
    assert content['meta']['seen_batches'] == {'M1': 'trained on'}


def test_what_earlier_stages_have_seen_is_handed_on(run, tiny_config, trained, tmp_path):
    start = ['--init', trained / 'best.pth', '--work-dir', tmp_path / 'second']
    swapped = ['train_batches=[M2]', 'max_epochs=1', 'val_fraction=0.5']
    assert_refused(run('train', tiny_config, *start, '--cfg-options', *swapped, 'test_batches=[M1]'), 'best.pth', 'M1')
    load = ['--cfg-options', *swapped, 'test_batches=[M1]', f'load_from={trained / "best.pth"}']
    assert_refused(run('train', tiny_config, '--work-dir', tmp_path / 'third', *load), 'best.pth', 'M1')
    status, _, line = run('train', tiny_config, *start, '--cfg-options', *swapped, 'test_batches=[H1]')
    assert status == 0, line
    seen = load_checkpoint_file(tmp_path / 'second' / 'best.pth')['meta']['seen_batches']
    assert seen == {'M1': f'trained on by {trained / "best.pth"}', 'M2': 'trained on'}
    resumed = ['--work-dir', tmp_path / 'second', '--resume', '--cfg-options', *swapped, 'max_epochs=2']
    assert run('train', tiny_config, *resumed, 'test_batches=[H1]')[0] == 0
    assert load_checkpoint_file(tmp_path / 'second' / 'epoch_2.pth')['meta']['seen_batches'] == seen
    work = ['--work-dir', tmp_path / 'work', '--cfg-options', 'test_batches=[M1]', 'train_batches=[M2]']
    assert_refused(run('test', tiny_config, tmp_path / 'second' / 'best.pth', *work), 'M1')


def test_allowed_it_is_marked_everywhere(run, tiny_config, trained, tmp_path):
    work = tmp_path / 'runs' / 'work'
    saved = tmp_path / 'saved'
    options = ['--work-dir', work, '--allow-seen', '--cfg-options', 'test_batches=[M1,M2]', 'method=yolov8']
    status, printed, line = run('test', tiny_config, trained / 'best.pth', '--save-results', saved, *options)
    assert status == 0, line
    tables = [block for block in printed.split('\n\n') if 'mode coco' in block]
    assert tables
    assert all(f'{MARK}: M1\n' in block for block in tables)
    report = json.loads((work / 'metrics.json').read_text())
    assert (report['warning'], report['run']['seen_in_training']) == (MARK, ['M1'])
    (log,) = work.glob('*/*.log')
    assert all(MARK in line for line in log.read_text().splitlines() if 'mAP50:' in line)
    (scalars,) = (path for path in work.glob('*/*.json') if path != work / 'metrics.json')
    assert MARK in scalars.read_text()

    results = {batch: json.loads((saved / f'{batch}.json').read_text()) for batch in ('M1', 'M2')}
    assert all(each['seen_in_training'] for each in results['M1'])
    assert not any('seen_in_training' in each for each in results['M2'])
    assert_refused(run('summarize', tmp_path / 'runs'), 'metrics.json', 'M1', '--allow-seen')
    for text_format in ('md', 'latex', 'csv'):
        _, table, _ = run('summarize', tmp_path / 'runs', '--allow-seen', '--format', text_format)
        rows = [line for line in table.splitlines() if line.startswith(('| YOLOv8', 'YOLOv8')) or ',YOLOv8' in line]
        assert rows
        assert all(MARK in row for row in rows)


def test_what_is_made_of_marked_results_is_marked(run, tiny_config, trained, tiny_data, tmp_path):
    truth = json.loads((tiny_data / 'M2' / 'annotations.json').read_text())
    keys = ('image_id', 'category_id', 'segmentation')
    marked = [
        {**{key: each[key] for key in keys}, 'score': 0.5, 'seen_in_training': True} for each in truth['annotations']
    ]
    (tmp_path / 'M2.json').write_text(json.dumps(marked))
    score = ['test', tiny_config, '--results', tmp_path / 'M2.json', '--name', 'x', '--work-dir', tmp_path / 'work']
    assert_refused(run(*score), 'M2.json', '--allow-seen')
    status, printed, line = run(*score, '--allow-seen')
    assert status == 0, line
    assert f'{MARK}: M2' in printed
    assert json.loads((tmp_path / 'work' / 'x' / 'metrics.json').read_text())['run']['seen_in_training'] == ['M2']
    columns = {'results': ['x', tmp_path / 'M2.json'], 'model': ['x', tiny_config, trained / 'best.pth']}
    for option, column in columns.items():
        batch = ['test_batches=[M1]', 'train_batches=[M2]'] if option == 'model' else []
        figure = ['make_figure', tiny_config, f'--{option}', *column, '--rows', 1, '--out', tmp_path / f'{option}.png']
        figure += ['--cfg-options', *batch] if batch else []
        assert_refused(run(*figure), str(column[-1]))
        status, printed, line = run(*figure, '--allow-seen')
        assert (status, MARK in printed) == (0, True), line


def test_runners_of_other_tools_refuse_it_too(tiny_config, tmp_path):
    """MMDetection's own tools build the runner from the same file."""

    def build(**options):
        config = load_config(tiny_config, {'test_batches': ['M1'], **options})
        config.work_dir, config.launcher = str(tmp_path), 'none'
        return RUNNERS.build(config)

    for start in (build().train, build().test):
        with pytest.raises(InputError, match=f'tiny.py: {MARK}: batch M1'):
            start()
    assert build(allow_seen=True).test()[MARK] == 1.0


@METRICS.register_module()
class CountSamples(BaseMetric):
    """A user's metric."""

    def process(self, data_batch, data_samples):
        self.results += list(data_samples)

    def compute_metrics(self, results):
        return {'n': len(results)}


def test_another_metric_is_marked_too(run, tiny_config, trained, tmp_path):
    config = tmp_path / 'other.py'
    config.write_text(
        f"_base_ = '{tiny_config}'\ntest_evaluator = dict(_delete_=True, type='CountSamples')\n"
        "test_batches = ['M1']\ntrain_batches = ['M2']\n"
    )
    status, printed, line = run('test', config, trained / 'best.pth', '--work-dir', tmp_path / 'work', '--allow-seen')
    assert status == 0, line
    assert f'{MARK}: 1.0000' in printed
    assert json.loads((tmp_path / 'work' / 'metrics.json').read_text()) == {'n': 6, MARK: 1.0}


@pytest.mark.parametrize('key', ['train_batches', 'test_batches'])
def test_a_batch_named_twice_is_refused(run, tiny_config, tmp_path, key):
    option = ['--work-dir', tmp_path, '--cfg-options', f'{key}=[M3,M3]']
    for tool, extra in (('train', []), ('test', ['--results', 'x.json', '--name', 'x'])):
        status, _, line = run(tool, tiny_config, *extra, *option)
        assert (status, f'{key}: batch M3 is named twice' in line) == (2, True), line


def test_labelling_a_batch_twice_is_refused(run, repo_dir, tmp_path):
    config = repo_dir / 'configs' / 'noise' / 'nuclei_detector_yolov8-l.py'
    status, _, line = run('pseudo_label', config, tmp_path / 'x.pth', '--batches', 'M1', 'M1')
    assert (status, '--batches: batch M1 is named twice' in line) == (2, True), line
