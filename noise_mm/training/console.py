"""What a training prints: a line now and then that fits a screen; everything is in the log file of the run."""

import logging
import re
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from noise_mm.progress import Progress
from noise_mm.stages import BEST_NAME

MOST_LINES = 20
"""About epochs, however many there are."""

LOW_SCORE = 0.05
"""A best mAP below which a network has learnt next to nothing."""

ONLY_IN_FILE = re.compile(
    r'\n-+\nSystem environment:|Config:\n|Hooks will be executed in|Checkpoints will be saved to|Exp name: '
    r'|Optimizer groups: |Epoch\(test\) *\[\d+/\d+\] +osteoclast/'  # follows the same numbers in a table
)
"""How messages begin that are written to the log file alone."""

ONLY_IN_FILE_OF_TRAINING = re.compile(
    r'Epoch\(|Iter\(|\n(segm|bbox), mode |Saving checkpoint at |The best checkpoint with |The previous best checkpoint '
    r'|Switch pipeline now'
)
"""The same while `ConsoleHook` prints the epochs."""


class _ConsoleFormatter(logging.Formatter):
    """Plain lines; what is more than a message says so."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f'{record.levelname.lower()}: {text}'


def shorten_console(logger: MMLogger, pattern: re.Pattern = ONLY_IN_FILE) -> None:
    """Keep messages that begin with `pattern` off the console; the log file stays as it is."""
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setFormatter(_ConsoleFormatter())
            handler.addFilter(lambda record: not pattern.match(record.getMessage()))


class ConsoleHook(Hook):
    """Prints loss, scores and time left of some epochs, with a bar on a terminal, and at the end what is best."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.best: float | None = None
        self.parts: list[str] = []
        self.losses: list[float] = []
        self.bar: Progress | None = None

    def before_run(self, runner: Runner) -> None:
        """Keep MMEngine's lines about epochs off the console."""
        shorten_console(runner.logger, ONLY_IN_FILE_OF_TRAINING)

    def before_train(self, runner: Runner) -> None:
        """Say what is trained, and where everything else is written."""
        self.best = runner.message_hub.get_info('best_score', self.best)  # of a run that is resumed
        self.began, self.first = time.monotonic(), runner.iter
        if not is_main_process():
            return
        log = Path(runner.logger.log_file or runner.work_dir)
        print(f'training on {len(runner.train_dataloader.dataset)} patches for {runner.max_epochs} epochs; log: {log}')
        if sys.stderr.isatty():
            self.bar = Progress('training', runner.max_iters, unit='iterations')
            self.bar.skip(runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Print the epoch before, which has been validated by now."""
        self._print(runner)
        self.losses = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Mapping | None = None
    ) -> None:
        """Note the loss."""
        self.losses.append(float(runner.message_hub.get_scalar('train/loss').current()))
        if self.bar is not None:
            self.bar.update()

    def after_train_epoch(self, runner: Runner) -> None:
        """Begin the line of this epoch."""
        left_s = (time.monotonic() - self.began) / (runner.iter - self.first) * (runner.max_iters - runner.iter)
        width, loss = len(str(runner.max_epochs)), sum(self.losses) / len(self.losses)
        left = timedelta(seconds=round(left_s))
        self.parts = [f'epoch {runner.epoch + 1:{width}}/{runner.max_epochs}: loss {loss:.4g}', f'{left} left']

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        """Add the scores of the validation."""
        name = runner.cfg.get('best_metric')
        value = (metrics or {}).get(name)
        if value is None or not self.parts:  # or this is a validation without a training
            return
        is_best = self.best is None or value > self.best
        self.best = value if is_best else self.best
        shown = {name: value} | {name.replace('mAP', kind): metrics.get(name.replace('mAP', kind)) for kind in 'PR'}
        texts = [f'{key.rpartition("/")[2]} {score:.3f}' for key, score in shown.items() if score is not None]
        self.parts[1:1] = [' '.join(texts) + (' (best)' if is_best else '')]

    def after_train(self, runner: Runner) -> None:
        """Print the last epoch, what is best, and what to do if that is next to nothing."""
        self._print(runner, is_last=True)
        if self.bar is not None:
            self.bar.close()
        if self.best is None or not is_main_process():
            return
        print(f'best: {runner.cfg.best_metric} {self.best:.3f}, {Path(runner.work_dir) / BEST_NAME}')
        if self.best < LOW_SCORE:
            print(
                f'warning: after {runner.epoch} epochs this network finds next to nothing. Train longer (--cfg-options '
                'max_epochs=N) or start from trained weights (--init FILE). If neither helps, check the outlines with '
                'data_prep/validate_dataset.py.'
            )

    def _print(self, runner: Runner, is_last: bool = False) -> None:
        every = -(-runner.max_epochs // MOST_LINES)
        is_shown = is_last or runner.epoch % every == 0 or runner.epoch == 1
        if self.parts and is_shown and is_main_process():
            if self.bar is not None:
                self.bar.clear()
            print(', '.join(self.parts), flush=True)
        self.parts = []
