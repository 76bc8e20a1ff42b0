"""The timer and the table that all benchmarks share."""

import time

import pytest


@pytest.fixture
def timing(repo_dir, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_dir / 'benchmarks'))
    import timing

    return timing


def test_ways_run_in_turn_and_warm_up_does_not_count(timing):
    calls = []
    ways = {'a': lambda: calls.append('a') or len(calls), 'b': lambda: calls.append('b')}
    runs = timing.run_in_turn(ways, rounds=2, warm_up=1)
    assert calls == ['a', 'b'] * 3
    assert [run.result for run in runs['a']] == [3, 5]


def test_waiting_takes_no_processor_time_and_work_does(timing):
    def work():
        began = time.process_time()
        while time.process_time() - began < 0.1:
            pass

    runs = timing.run_in_turn({'wait': lambda: time.sleep(0.2), 'work': work}, rounds=1)
    assert runs['wait'][0].took.wall_s >= 0.2
    assert runs['wait'][0].took.cpu_s < 0.1
    assert runs['work'][0].took.cpu_s >= 0.1


def test_ratios_are_those_of_pairs(timing):
    assert timing.median_ratio([2, 30, 400], [1, 10, 100]) == 3


def test_tables_line_up(timing):
    lines = timing.table(['', 'ms'], [['this project', 12.3456], ['a', 12345.6], ['b', 3]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split('|')[2].strip() for line in lines[2:]] == ['12.35', '12346', '3']


def test_phases_of_iterations_after_warm_up_add_up(timing):
    class Model:
        def forward(self):
            time.sleep(0.02)
            return 7

    clock, model = timing.IterationClock(warm_up=1, iterations=2), Model()
    clock.time_method(model, 'forward', 'forward')
    with pytest.raises(timing.Finished):
        while True:
            time.sleep(0.01)
            clock.batch_arrived()
            assert model.forward() == 7
            clock.iteration_ended()
    report = clock.report(batch_size=10)  # ms per image: 2 iterations of 10 images
    assert report['phases'].keys() == {'data', 'forward'}
    assert 2 <= report['phases']['forward'][0] < report['total'][0]
    assert report['phases']['data'][0] >= 1
