"""Damages files for every parser, by the hundred thousand, and reports what is neither read nor refused in one line.

    python -m tests.soak.fuzz --cases 200000 --seed 1

Cases are handed out in batches to a process of its own, which may take 4 GiB of memory and 20 s for a case (on systems
that can limit them). A case fails if it ends the process, raises anything but `InputError`, or takes too much. Its file
is kept in the folder given by --keep, with the name of the parser.
"""

import argparse
import contextlib
import faulthandler
import io
import logging
import multiprocessing
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

MEMORY_BYTES, CASE_SECONDS, BATCH = 4 * 2**30, 20, 4000


class TooLongError(BaseException):
    """A case took more than `CASE_SECONDS`; no `Exception`, so that no parser catches it."""


def run_case(parser, data: bytes, folder: Path) -> str:
    """Parses damaged data.

    Returns:
        'read', 'refused', or what went wrong.
    """
    from noise_mm.errors import InputError

    path = folder / parser.file_name
    path.write_bytes(data)
    began = time.monotonic()
    try:
        parser.parse(path)
    except InputError as error:
        outcome = 'refused' if str(folder) in str(error) and '\n' not in str(error)[:-1] else f'unclear: {error}'
    except (Exception, TooLongError) as error:  # noqa: BLE001 - this is what is looked for
        outcome = f'{type(error).__name__}: {str(error)[:200]}'
    else:
        outcome = 'read'
    seconds = time.monotonic() - began
    return outcome if seconds < CASE_SECONDS else f'took {seconds:.0f} s'


def cases(parsers, first: int, count: int, seed: int):
    """Yields number, parser and damaged data of some cases; each follows from its number and the seed alone."""
    from tests.soak.mutations import mutated

    for number in range(first, first + count):
        rng = random.Random(f'{seed} {number}')
        parser = parsers[number % len(parsers)]
        yield number, parser, mutated(parser.data, rng)


def _limit() -> None:
    """Limits memory and time of this process where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES + 8 * 2**30, MEMORY_BYTES + 8 * 2**30))
    if hasattr(signal, 'setitimer'):

        def too_long(*_: object) -> None:
            raise TooLongError

        signal.signal(signal.SIGALRM, too_long)


def _work(first: int, count: int, seed: int, place, outcomes, folder: str) -> None:
    """One batch: `place` holds the number of the case that is being parsed, so that a crash can be named."""
    from tests.soak.parsers import all_parsers

    logging.disable(logging.CRITICAL)
    warnings.simplefilter('ignore')
    parsers = all_parsers()
    _limit()
    found = []
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        for number, parser, data in cases(parsers, first, count, seed):
            place.value = number
            faulthandler.dump_traceback_later(2 * CASE_SECONDS, exit=True, file=sys.__stderr__)  # where it hangs
            if hasattr(signal, 'setitimer'):
                signal.setitimer(signal.ITIMER_REAL, CASE_SECONDS)
            found.append((number, parser.name, run_case(parser, data, Path(folder))))
            if hasattr(signal, 'setitimer'):
                signal.setitimer(signal.ITIMER_REAL, 0)
    faulthandler.cancel_dump_traceback_later()
    outcomes.send(found)


def _is_moving(receiver, place, first: int) -> bool:
    """Waits for the outcomes of a batch; False if one case takes so long that not even the alarm ended it."""
    last, waits = place.value, 0  # seconds by count, not by the clock: a machine may be suspended meanwhile
    while not receiver.poll(1):
        last, waits = (last, waits + 1) if place.value == last else (place.value, 0)
        if waits > (3 if place.value >= first else 30) * CASE_SECONDS:  # imports may take long on a busy machine
            return False
    return True


def run(n_cases: int, seed: int, keep: Path | None = None, first: int = 0) -> tuple[Counter, list[str]]:
    """Runs cases.

    Returns:
        How many were read and refused, and a line for each that failed.
    """
    from tests.soak.parsers import all_parsers

    context = multiprocessing.get_context('spawn')
    parsers, counts, failures = all_parsers(), Counter(), []
    end, start, began = first + n_cases, first, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        while first < end:
            count = min(BATCH, end - first)
            place, (receiver, sender) = context.Value('q', first - 1, lock=False), context.Pipe(False)
            process = context.Process(target=_work, args=(first, count, seed, place, sender, folder))
            process.start()
            sender.close()
            hangs = not _is_moving(receiver, place, first)
            if hangs:
                process.kill()
            try:
                found = receiver.recv()
            except EOFError:  # the process is gone, and with it the outcomes of the batch, which were fine so far
                process.join()
                stopped = place.value
                what = 'hangs' if hangs else f'crash (exit status {process.exitcode})'
                found = [(stopped, parsers[stopped % len(parsers)].name, what)]
                count = stopped - first + 1
            process.join()
            for number, name, outcome in found:
                counts[outcome if outcome in ('read', 'refused') else 'failed'] += 1
                if outcome not in ('read', 'refused'):
                    failures.append(f'case {number}, {name}: {outcome}')
                    print(failures[-1], flush=True)
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        ((_, parser, data),) = cases(parsers, number, 1, seed)
                        (keep / f'{seed}_{number}_{parser.file_name}').write_bytes(data)
            first += count
            if (first - start) // (5 * BATCH) > (first - count - start) // (5 * BATCH):  # a crash ends a batch early
                rate = (first - start) / (time.monotonic() - began)
                print(f'{first - start} cases, {rate:.0f} a second: {dict(counts)}', flush=True)
    return counts, failures


def main() -> None:
    """Reads the options and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=int, default=200_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--first', type=int, default=0, help='number of the first case, to repeat one')
    parser.add_argument('--keep', type=Path, metavar='DIR', help='folder for the files that fail')
    args = parser.parse_args()
    counts, failures = run(args.cases, args.seed, args.keep, args.first)
    print(f'{args.cases} cases, seed {args.seed}: {dict(counts)}')
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
