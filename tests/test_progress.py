import io

from noise_mm import progress
from noise_mm.progress import Progress


def clock(monkeypatch, *times):
    ticks = iter(times)
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(ticks))


def test_rate_and_time_left(monkeypatch):
    clock(monkeypatch, 100.0)
    shown = Progress('M1', 100, 1_000_000, io.StringIO())
    shown.done = 20
    assert shown.line(110.0) == 'M1: 20/100 patches, 2.0 MPx/s of patches, 0:00:40 left'
    shown.done = 100
    assert shown.line(3825.0) == 'M1: 100/100 patches, 0.0 MPx/s of patches, in 1:02:05'


def test_what_an_earlier_run_did_is_not_in_the_rate(monkeypatch):
    clock(monkeypatch, 0.0)
    shown = Progress('M1', 100, 1_000_000, io.StringIO())
    shown.skip(50)
    assert shown.line(1.0).endswith('50/100 patches, 0.0 MPx/s of patches, time left unknown')
    shown.done += 10
    assert shown.line(10.0) == 'M1: 60/100 patches, 1.0 MPx/s of patches, 0:00:40 left'


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    stream = io.StringIO()
    clock(monkeypatch, 0.0, 1.0, 11.0, 12.0, 13.0, 14.0)
    shown = Progress('M1', 5, 1, stream)
    for _ in range(4):
        shown.add(1)
    shown.add(1)
    assert stream.getvalue().count('\n') == 1
    clock(monkeypatch, 15.0)
    shown.finish()
    assert stream.getvalue().splitlines()[-1].startswith('M1: 5/5 patches')


def test_a_terminal_has_one_line(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    clock(monkeypatch, 0.0, 1.0, 2.0, 3.0)
    shown = Progress('M1', 3, 1, stream)
    shown.add(1)
    shown.add(1)
    shown.finish()
    assert stream.getvalue().count('\r') == 3
    assert stream.getvalue().count('\n') == 1
