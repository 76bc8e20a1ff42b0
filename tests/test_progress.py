import io

from noise_mm.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_whole_lines_and_few_of_them():
    stream = io.StringIO()
    shown = Progress('M1', 500, stream)
    for _ in range(500):
        shown.update(1)
    shown.close()
    assert '\r' not in stream.getvalue()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('M1: 500/500 patches, ')


def test_a_log_gets_a_line_now_and_then():
    stream = io.StringIO()
    shown = Progress('M1', 3, stream)
    shown.mininterval = 0
    for _ in range(3):
        shown.update(1)
    shown.close()
    assert stream.getvalue().splitlines()[0].startswith('M1: 1/3 patches, ')
    assert 'left' in stream.getvalue()


def test_items_of_an_earlier_run_are_not_in_the_rate():
    shown = Progress('M1', 100, io.StringIO())
    shown.skip(50)
    shown.update(10)
    assert (shown.n, shown.initial) == (60, 50)


def test_a_terminal_has_one_line():
    stream = Terminal()
    shown = Progress('M1', 3, stream)
    for _ in range(3):
        shown.update(1)
    shown.close()
    assert stream.getvalue().count('\n') == 1
    assert '\r' in stream.getvalue()
