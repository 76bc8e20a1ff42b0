"""Runs a plan, or prints what it would run."""

import shlex
from collections.abc import Sequence

from noise_mm.errors import InputError
from noise_mm.protocols import launch
from noise_mm.protocols.launch import Launcher, at_work, shown
from noise_mm.protocols.plan import TRAIN, Step
from noise_mm.protocols.progress import CUT, DONE, check_before, state_of
from noise_mm.stages import CONFIGS


def run(steps: Sequence[Step], launcher: Launcher, resume: bool) -> None:
    """Run all steps that are not done, one after the other.

    Raises:
        InputError: If a step fails, or a folder holds a run of other settings or inputs.
    """
    check_before(steps, resume)
    for number, step in enumerate(steps, 1):
        what = f'[{number}/{len(steps)}] {step.title}, {step.folder}'
        with at_work(step.folder):
            state = state_of(step, steps, resume)
            if state == DONE:
                print(f'{what}: done before', flush=True)
                continue
            print(f'{what}: {"goes on" if state == CUT else "begins"}', flush=True)
            launch.run(_command(step, launcher, state), f'{step.title}, {step.folder}')
            if step.tool == TRAIN and state_of(step, steps, resume) != DONE:
                raise InputError(f'{step.folder}: its training ended without a record. Run the same command again.')


def dry_run(steps: Sequence[Step], launcher: Launcher, resume: bool) -> None:
    """Print the commands of all steps; those that are done already as comments.

    Raises:
        InputError: If a folder holds a run of other settings or inputs.
    """
    check_before(steps, resume)
    unfinished = set()
    for step in steps:
        pending = unfinished.intersection((*step.needs, step.folder))
        state = None if pending else state_of(step, steps, resume)
        if state != DONE and step.tool == TRAIN:
            unfinished.add(step.folder)
        print(('# done: ' if state == DONE else '') + shlex.join(_command(step, launcher, state)))


def _command(step: Step, launcher: Launcher, state: str | None) -> list[str]:
    return launcher.command(step.tool, step.arguments(shown(CONFIGS / step.config), resume=state == CUT))
