import pytest

from noise_mm.errors import InputError, one_line, run_command


def fail(error):
    def main():
        raise error

    return main


def test_bad_input_gives_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(fail(InputError('a.tif: broken.\n  Export it again.')))
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: a.tif: broken. Export it again.\n'


def test_work_done_returns():
    assert run_command(lambda: None) is None


def test_interrupt_gives_status_130():
    with pytest.raises(SystemExit) as caught:
        run_command(fail(KeyboardInterrupt()))
    assert caught.value.code == 130


def test_defects_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(fail(ZeroDivisionError()))


def test_error_of_a_loading_process_is_its_last_line():
    text = (
        'Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
        '  File "x.py", line 1\nnoise_mm.errors.InputError: a.png: truncated. Copy it again.\n'
    )
    assert one_line(InputError(text)) == 'a.png: truncated. Copy it again.'
