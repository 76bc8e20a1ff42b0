"""Each hook alone with a stand-in runner; tests/training/test_runner.py has them all in a real run."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook

from noise_mm.errors import InputError
from noise_mm.hooks import CloseMosaicHook, FiniteLossHook, ResumableEarlyStoppingHook, StepEMAHook, YOLOv8ScheduleHook

ITERATIONS = 10


def fake_runner(max_epochs=100, batch=16, momentum=0.9):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer = torch.optim.SGD([{'params': [p]} for p in parameters], lr=0.01, momentum=momentum)
    return SimpleNamespace(
        train_loop=None,
        iter=0,
        epoch=0,
        max_epochs=max_epochs,
        train_dataloader=range(ITERATIONS),
        iterations_per_step=max(round(64 / batch), 1),
        optim_wrapper=SimpleNamespace(optimizer=optimizer),
    )


def at(runner, hook, epoch, batch_idx=0):
    runner.epoch, runner.iter = epoch, epoch * ITERATIONS + batch_idx
    hook.before_train_iter(runner, batch_idx)
    return runner.optim_wrapper.optimizer.param_groups


def test_rate_falls_linearly_to_its_end():
    runner, hook = fake_runner(), YOLOv8ScheduleHook()
    hook.before_train(runner)
    for epoch in (10, 50, 99):
        expected = 0.01 * ((1 - epoch / 100) * 0.99 + 0.01)
        assert [group['lr'] for group in at(runner, hook, epoch)] == pytest.approx([expected] * 3)


def test_schedule_follows_the_runners_epochs():
    runner, hook = fake_runner(max_epochs=20), YOLOv8ScheduleHook(lr_factor=0)
    hook.before_train(runner)
    assert at(runner, hook, 15)[0]['lr'] == pytest.approx(0.01 * 0.25)


def test_warm_up():
    runner, hook = fake_runner(), YOLOv8ScheduleHook(warmup_bias_lr=0.1, warmup_min_iters=100)
    hook.before_train(runner)
    weights, _, biases = at(runner, hook, 0)
    assert (weights['lr'], biases['lr'], weights['momentum']) == (0, 0.1, 0.8)
    assert runner.optim_wrapper.accumulation == 1
    weights, _, biases = at(runner, hook, 5)  # half of the 100 iterations
    assert weights['momentum'] == pytest.approx(0.85)
    assert biases['lr'] == pytest.approx((0.1 + 0.01 * (0.95 * 0.99 + 0.01)) / 2)
    at(runner, hook, 10)
    assert runner.optim_wrapper.accumulation == 4


def test_values_depend_on_the_iteration_only():
    # A run resumed at epoch 30 must find the rates it would have had.
    whole, resumed = fake_runner(), fake_runner()
    hook, fresh = YOLOv8ScheduleHook(), YOLOv8ScheduleHook()
    hook.before_train(whole)
    for epoch in range(31):
        expected = [dict(lr=g['lr'], momentum=g['momentum']) for g in at(whole, hook, epoch)]
    resumed.optim_wrapper.optimizer.load_state_dict(whole.optim_wrapper.optimizer.state_dict())
    fresh.before_train(resumed)
    assert [dict(lr=g['lr'], momentum=g['momentum']) for g in at(resumed, fresh, 30)] == expected


def test_last_iteration_of_an_epoch_is_marked():
    runner, hook = fake_runner(), YOLOv8ScheduleHook()
    hook.before_train(runner)
    marks = []
    for batch_idx in range(ITERATIONS):
        at(runner, hook, 3, batch_idx)
        marks.append(runner.optim_wrapper.is_last_of_epoch)
    assert marks == [False] * (ITERATIONS - 1) + [True]


@pytest.mark.parametrize(('max_epochs', 'expected'), [(100, 90), (10, 0), (5, -5)])
def test_mosaic_closes_before_the_end(max_epochs, expected):
    hook = CloseMosaicHook(num_last_epochs=10, switch_pipeline=[])
    hook.before_train(fake_runner(max_epochs))
    assert hook.switch_epoch == expected


@pytest.mark.parametrize('stepped', [True, False])
def test_average_moves_with_steps_only(monkeypatch, stepped):
    calls = []
    monkeypatch.setattr(EMAHook, 'after_train_iter', lambda *args: calls.append(args))
    hook = StepEMAHook.__new__(StepEMAHook)
    hook.after_train_iter(SimpleNamespace(optim_wrapper=SimpleNamespace(stepped=stepped)), 0)
    assert len(calls) == stepped


def early_stopping(scores, hook=None):
    hook = hook or ResumableEarlyStoppingHook(monitor='m', rule='greater', patience=3, min_delta=0)
    return hook, [hook._check_stop_condition(score)[0] for score in scores]


def test_early_stopping_goes_on_counting_after_resume():
    _, expected = early_stopping([0.5, 0.4, 0.4, 0.4])
    first, before = early_stopping([0.5, 0.4])
    checkpoint = {}
    first.before_save_checkpoint(None, checkpoint)
    second = ResumableEarlyStoppingHook(monitor='m', rule='greater', patience=3, min_delta=0)
    second.after_load_checkpoint(SimpleNamespace(_resume=True), checkpoint)
    _, after = early_stopping([0.4, 0.4], second)
    assert before + after == expected == [False, False, False, True]


def test_early_stopping_starts_anew_from_given_weights():
    hook = ResumableEarlyStoppingHook(monitor='m', rule='greater', patience=3)
    hook.after_load_checkpoint(SimpleNamespace(_resume=False), {'early_stopping': {'wait_count': 2, 'best_score': 0.9}})
    assert hook.wait_count == 0


@pytest.mark.parametrize('loss', [float('nan'), float('inf')])
def test_a_loss_that_is_no_number_ends_the_training(loss):
    hook, runner = FiniteLossHook(interval=2), SimpleNamespace(iter=0)
    hook.after_train_iter(runner, 0, outputs={'loss': torch.tensor(loss)})  # not every iteration is checked
    runner.iter = 1
    hook.after_train_iter(runner, 1, outputs={'loss': torch.tensor(3.0)})
    with pytest.raises(InputError, match='not a number in iteration 2.*--amp'):
        hook.after_train_iter(runner, 1, outputs={'loss': torch.tensor(loss)})
