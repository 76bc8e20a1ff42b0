import multiprocessing
import pickle
from multiprocessing import process

import pytest

import noise_mm.compat.child_processes as module


def test_the_configuration_of_a_process_names_us():
    module.import_in_children(process)
    configuration = multiprocessing.Process()._config
    assert configuration['noise_mm'] is module.import_in_children
    assert b'noise_mm.compat.child_processes' in pickle.dumps(configuration['noise_mm'])


@pytest.mark.slow
@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
def test_a_spawned_process_can_unpickle_what_needs_mmcv_ops(method):
    from mmcv.ops import RoIPool

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f'this system has no start method {method}')
    child = multiprocessing.get_context(method).Process(target=callable, args=(RoIPool,))
    child.start()
    child.join()
    assert child.exitcode == 0
