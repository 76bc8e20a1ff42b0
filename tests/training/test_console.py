import logging
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger

from noise_mm.training.console import MOST_LINES, ConsoleHook, shorten_console

NAME = 'osteoclast/segm_mAP50'


@pytest.fixture
def runner(tmp_path, request):
    """What the hook reads of a runner of 100 epochs of 2 iterations."""
    return SimpleNamespace(
        cfg=Config({'best_metric': NAME}),
        logger=MMLogger(request.node.name, log_file=str(tmp_path / 'run.log')),
        message_hub=MessageHub(request.node.name),
        train_dataloader=SimpleNamespace(dataset=range(4)),
        work_dir=str(tmp_path),
        iter=0,
        epoch=0,
        max_epochs=100,
        max_iters=200,
    )


def train(runner, scores):
    hook = ConsoleHook()
    hook.before_run(runner)
    hook.before_train(runner)
    for score in scores:
        hook.before_train_epoch(runner)
        for index in range(2):
            runner.message_hub.update_scalar('train/loss', 3.0)
            hook.after_train_iter(runner, index)
            runner.iter += 1
        hook.after_train_epoch(runner)
        runner.epoch += 1
        hook.after_val_epoch(runner, {NAME: score, NAME.replace('mAP', 'P'): 0.5})
    hook.after_train(runner)


def test_many_epochs_fit_a_screen(runner, capsys):
    train(runner, [0.01 * epoch for epoch in range(100)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= MOST_LINES + 3
    assert lines[1].startswith('epoch   1/100: loss 3, segm_mAP50 0.000 segm_P50 0.500 (best), ')
    assert lines[-2].startswith('epoch 100/100') and lines[-2].endswith('0:00:00 left')
    assert lines[-1].startswith(f'best: {NAME} 0.990')


def test_a_network_that_learnt_nothing_is_named(runner, capsys):
    train(runner, [0.0, 0.01, 0.0])
    assert 'after 3 epochs this network finds next to nothing. Train longer' in capsys.readouterr().out


def test_a_resumed_run_knows_its_best(runner, capsys):
    """The epoch before is validated by another hook's `before_train`, before this one's."""
    runner.message_hub.update_info('best_score', 0.6)
    hook = ConsoleHook()
    hook.before_run(runner)
    hook.after_val_epoch(runner, {NAME: 0.5})
    train(runner, [0.5])
    out = capsys.readouterr().out
    assert '(best)' not in out and f'best: {NAME} 0.600' in out


def test_long_messages_are_in_the_file_alone(runner, capsys, tmp_path):
    logger = runner.logger
    shorten_console(logger)
    shown = logger.handlers[0].stream = SimpleNamespace(text='', flush=lambda: None)
    shown.write = lambda text: setattr(shown, 'text', shown.text + text)
    logger.info('Config:\na = 1')
    logger.info('optimizer=auto: AdamW')
    logger.log(logging.WARNING, 'no COCO weights')
    assert shown.text == 'optimizer=auto: AdamW\nwarning: no COCO weights\n'
    assert 'a = 1' in (tmp_path / 'run.log').read_text()
