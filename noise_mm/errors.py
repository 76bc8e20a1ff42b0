"""The one exception for bad input, and how the command lines report it."""

import os
import signal
import sys
import threading
from collections.abc import Callable


class InputError(Exception):
    """Bad input: a file, an option or a configuration that the user can put right.

    The message is one line. It names the file or option, says what is wrong, and ends with what to do.
    """


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM), as `kill`, SLURM and shutdowns do."""


def run_command(main: Callable[[], None]) -> None:
    """Run the `main` of a command line and exit as all commands of this project do.

    The exit status is 0 when the work is done; 2 on bad input, a package that cannot be imported or want of GPU memory,
    reported in one line on standard error without a traceback; 130 after Ctrl-C and 143 after SIGTERM. Any other
    exception is a defect of this program and keeps its traceback.
    """
    _report_termination()
    try:
        main()
    except InputError as error:
        _exit(f'error: {one_line(error)}', 2)
    except ImportError as error:
        if (error.name or '').startswith('noise_mm'):
            raise
        what = ' '.join(str(error).split())
        _exit(f'error: {what}. Install the packages that fit: python tools/environment.py', 2)
    except Terminated:
        _exit('terminated', 143)
    except KeyboardInterrupt:
        _exit('interrupted', 130)
    except (MemoryError, RuntimeError) as error:
        if (owner := _short_of_memory(error)) is None:
            raise
        _exit(f'error: {owner} has not enough memory. Lower --batch-size, in training batch_size (--cfg-options).', 2)


def _short_of_memory(error: MemoryError | RuntimeError) -> str | None:
    """Return whose memory an exception says is used up, if it does. torch is not imported for this."""
    text = str(error)
    if isinstance(error, MemoryError) or 'DefaultCPUAllocator' in text:
        return 'this machine'
    if type(error).__name__ == 'OutOfMemoryError' or 'CUDA error: out of memory' in text or '_ALLOC_FAILED' in text:
        return 'the GPU'
    return None


def _exit(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)


def _report_termination() -> None:
    """Raise `Terminated` on SIGTERM in this process; processes forked from it end as if nothing were changed."""

    def terminate(number: int, frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, terminate)
    if hasattr(os, 'register_at_fork'):
        # Blocked meanwhile: Python drops signals that reach a child before its interpreter is ready.
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_end_by_default)


def _block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_by_default() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock()


def one_line(error: InputError) -> str:
    """Return the message of an error in one line.

    torch passes on what a data-loading process raised as an error of the same class, whose message is that process's
    whole traceback; the message proper is at its end.
    """
    text = str(error)
    if text.startswith('Caught InputError in '):
        text = text.rpartition('InputError: ')[2]
    return ' '.join(text.split())
