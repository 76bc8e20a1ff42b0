"""The one exception for bad input, and how the command lines report it."""

import sys
from collections.abc import Callable


class InputError(Exception):
    """Bad input: a file, an option or a configuration that the user can put right.

    The message is one line. It names the file or option, says what is wrong, and ends with what to do.
    """


def run_command(main: Callable[[], None]) -> None:
    """Runs the `main` of a command line and exits as all commands of this project do.

    The exit status is 0 when the work is done and 2 on bad input, which is reported in one line on standard
    error and without a traceback. Any other exception is a defect of this program and keeps its traceback.
    """
    try:
        main()
    except InputError as error:
        print(f'error: {one_line(error)}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)


def one_line(error: InputError) -> str:
    """The message of an error in one line.

    torch passes on what a data-loading process raised as an error of the same class, whose message is that process's
    whole traceback; the message proper is at its end.
    """
    text = str(error)
    if text.startswith('Caught InputError in '):
        text = text.rpartition('InputError: ')[2]
    return ' '.join(text.split())
