"""A data root without pictures, and stand-ins for the tools that leave what these would leave, at once."""

import argparse
import copy
import functools
import json
from pathlib import Path

import pytest

BATCHES = ('M1', 'M2', 'M3', 'H1', 'H2')


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five batches and marked nuclei, each an annotation file, in `data` below the current folder.

    A relative path, so that the tests resolve the same few configs, which are kept.
    """
    monkeypatch.chdir(tmp_path)
    for folder in (*BATCHES, 'nuclei'):
        path = Path('data') / folder / 'annotations.json'
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({'batch': folder}))
    return Path('data')


@pytest.fixture
def make_study(data_root):
    """`make_study(protocol, method, **changes)` -> a `Study` of M1 to M3, H1 and H2 in `runs`."""
    from noise_mm.protocols.plan import Study

    def make(protocol='m2m', method='noise', **changes):
        options = {'root': Path('runs'), 'cfg_options': ()} | changes
        if protocol != 'h2h' or method in ('noise', 'nuclei-free'):
            options = {'mouse': BATCHES[:3]} | options
        options['cfg_options'] = (f'data_root={data_root}', 'model_size=n', *options['cfg_options'])
        return Study(protocol, method, **options)

    return make


@functools.cache
def _load_config(path):
    from noise_mm.configuration import load_config

    return load_config(path)


class Tools:
    """Stands for the tools: what each leaves is a function of what it is made from.

    Attributes:
        ran: Tool, name of the run's folder, and whether it resumed, of each command so far.
        failing: The number of the command that fails, counted from 0.
    """

    def __init__(self) -> None:
        self.ran = []
        self.failing = None

    def run(self, command: list[str], what: str) -> None:
        """Instead of `launch.run`."""
        from noise_mm.errors import InputError

        tool, words = Path(command[1]).stem, command[2:]
        folder = Path(words[words.index('--work-dir') + 1]) if '--work-dir' in words else Path(words[1]).parent
        fails = len(self.ran) == self.failing
        self.ran.append((tool, folder.name, '--resume' in words))
        {'train': self._train, 'pseudo_label': self._label, 'test': self._test}[tool](words, folder, fails)
        if fails:
            raise InputError(f'{what}: stopped')

    def _config(self, words):
        from noise_mm.command_line import add_config_options
        from noise_mm.protocols.plan import resolved_config
        from noise_mm.stages import CONFIGS

        parser = argparse.ArgumentParser()
        parser.add_argument('config', type=Path)
        add_config_options(parser)
        args, _ = parser.parse_known_args(words)
        config = copy.deepcopy(
            resolved_config(str(args.config.relative_to(CONFIGS)), tuple(args.cfg_options), args.fold)
        )
        config.work_dir = str(args.work_dir)
        return config

    def _train(self, words, folder, fails):
        from noise_mm.stages import initial_checkpoints
        from noise_mm.training.run_inputs import training_inputs
        from noise_mm.training.run_record import RunRecord, begin_record, finish_record, training_settings

        config = self._config(words)
        config.init_checkpoints = initial_checkpoints(config)
        inputs = training_inputs(config)
        folder.mkdir(exist_ok=True)
        begin_record(folder, RunRecord(training_settings(config, '--amp' in words), inputs), '--resume' in words)
        (folder / 'last_checkpoint').write_text('epoch_1.pth')
        if not fails:
            (folder / 'best.pth').write_text(repr((folder.name, config.max_epochs)))
            finish_record(folder, config.max_epochs, 10 * config.max_epochs)

    def _label(self, words, folder, fails):
        config = self._config(words[:1] + words[2:])
        target = Path(config.data_root) / config.pseudo_dir
        target.mkdir(parents=True, exist_ok=True)
        batches = words[words.index('--batches') + 1 : words.index('--cfg-options')]
        for batch in batches[: 1 if fails else None]:
            (target / f'{batch}.json').write_text((folder / 'best.pth').read_text())

    def _test(self, words, folder, fails):
        from noise_mm.training.run_inputs import data_inputs
        from noise_mm.training.run_record import digest, evaluation_settings, read_record

        config = self._config(words)
        run = {
            'checkpoint': str(folder / 'best.pth'),
            'training': {'run_id': read_record(folder).run_id},
            'settings_digest': digest(evaluation_settings(config)),
            'data': data_inputs(config, 'test_dataloader'),
        }
        if not fails:
            (folder / 'metrics.json').write_text(json.dumps({'run': run}))


@pytest.fixture
def tools(monkeypatch) -> Tools:
    """The stand-ins, in place of the real tools."""
    from noise_mm import stages
    from noise_mm.protocols import execution

    monkeypatch.setattr(stages, 'load_config', _load_config)
    stand_ins = Tools()
    monkeypatch.setattr(execution.launch, 'run', stand_ins.run)
    return stand_ins
