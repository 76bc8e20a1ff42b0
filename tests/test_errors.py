import signal
import subprocess
import sys

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


def test_package_that_cannot_be_imported_gives_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(fail(ImportError('libGL.so.1: cannot open\nshared object file', name='cv2')))
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith('error: libGL.so.1: cannot open shared object file. Install')
    with pytest.raises(ImportError):
        run_command(fail(ImportError('circular', name='noise_mm.stages')))


def test_work_done_returns():
    assert run_command(lambda: None) is None


def test_interrupt_gives_status_130():
    with pytest.raises(SystemExit) as caught:
        run_command(fail(KeyboardInterrupt()))
    assert caught.value.code == 130


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_a_signal_gives_a_word_and_no_traceback(name, tmp_path, repo_dir):
    program = tmp_path / 'program.py'
    program.write_text(
        f'import signal, sys, time, multiprocessing\nsys.path.insert(0, {str(repo_dir)!r})\n'
        # Programs in the background of a shell inherit that it is ignored.
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'from noise_mm.errors import run_command\n'
        'def main():\n    fork = multiprocessing.get_context("fork")\n'
        '    fork.Process(target=time.sleep, args=(60,), daemon=True).start()\n'
        '    print("ready", flush=True)\n    time.sleep(60)\nrun_command(main)\n'
    )
    process = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == {'SIGTERM': (143, 'terminated\n'), 'SIGINT': (130, 'interrupted\n')}[name]


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's."""


@pytest.mark.parametrize(
    ('error', 'owner'),
    [
        (OutOfMemoryError('CUDA out of memory. Tried to allocate ...'), 'the GPU'),
        (RuntimeError('CUDA error: out of memory'), 'the GPU'),
        (RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'), 'the GPU'),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 'this machine'),
        (MemoryError('Unable to allocate 7 TiB'), 'this machine'),
    ],
)
def test_want_of_memory_gives_one_line(error, owner, capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(fail(error))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'error: {owner} has not enough memory') and '--batch-size' in line


def test_other_errors_of_torch_keep_their_traceback():
    with pytest.raises(RuntimeError):
        run_command(fail(RuntimeError('a defect')))


def test_defects_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(fail(ZeroDivisionError()))


def test_error_of_a_loading_process_is_its_last_line():
    text = (
        'Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
        '  File "x.py", line 1\nnoise_mm.errors.InputError: a.png: truncated. Copy it again.\n'
    )
    assert one_line(InputError(text)) == 'a.png: truncated. Copy it again.'
