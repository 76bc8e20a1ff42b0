import copy
import importlib
import importlib.util
import sys
import threading
from importlib.machinery import SourceFileLoader

import pytest

from noise_mm.compat.on_import import on_import, translate_import_error


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Writes an importable module; what the test imports from this folder is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    # Python compares the time stamps of sources to the second, too coarse for a module that a test writes twice.
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)
    before = set(sys.modules)

    def write(name, text):
        (tmp_path / f'{name}.py').write_text(text)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if (tmp_path / f'{name}.py').exists():
            del sys.modules[name]


def test_callback_comes_right_after_the_import_and_once(write_module):
    write_module('hooked_late', 'VALUE = 1')
    seen = []
    on_import('hooked_late', lambda module: seen.append(module.VALUE))
    assert importlib.util.find_spec('hooked_late') is not None
    assert seen == []
    module = importlib.import_module('hooked_late')
    assert seen == [1]
    importlib.reload(module)
    assert seen == [1]


def test_callback_comes_at_once_for_an_imported_module(write_module):
    write_module('hooked_early', '')
    module = importlib.import_module('hooked_early')
    seen = []
    on_import('hooked_early', seen.append)
    assert seen == [module]


def test_callbacks_run_in_order_of_registration(write_module):
    write_module('hooked_twice', '')
    seen = []
    on_import('hooked_twice', lambda module: seen.append('first'))
    on_import('hooked_twice', lambda module: seen.append('second'))
    importlib.import_module('hooked_twice')
    assert seen == ['first', 'second']


def test_half_imported_module_is_waited_for(write_module):
    write_module(
        'hooks_itself',
        'from noise_mm.compat.on_import import on_import\n'
        'SEEN = []\n'
        'on_import(__name__, lambda module: SEEN.append(module.DONE))\n'
        'import imported_meanwhile\n'
        'DONE = True\n',
    )
    write_module('imported_meanwhile', '')
    write_module('imported_next', '')
    module = importlib.import_module('hooks_itself')
    assert module.SEEN == []
    importlib.import_module('imported_next')
    assert module.SEEN == [True]


def test_half_imported_module_that_fails_is_hooked_at_its_next_import(write_module):
    write_module('collects', 'SEEN = []')
    write_module(
        'fails_half_way',
        'from noise_mm.compat.on_import import on_import\n'
        'from collects import SEEN\n'
        'on_import(__name__, SEEN.append)\n'
        'raise ImportError("half way")\n',
    )
    with pytest.raises(ImportError, match='half way'):
        importlib.import_module('fails_half_way')
    write_module('fails_half_way', '')
    seen = importlib.import_module('collects').SEEN
    assert seen == []
    module = importlib.import_module('fails_half_way')
    assert seen == [module]


def test_module_that_fails_is_hooked_when_it_succeeds(write_module):
    write_module('fails_once', 'raise ImportError("not yet")')
    seen = []
    on_import('fails_once', seen.append)
    with pytest.raises(ImportError, match='not yet'):
        importlib.import_module('fails_once')
    assert seen == []
    write_module('fails_once', '')
    module = importlib.import_module('fails_once')
    assert seen == [module]


def test_callback_that_raises_fails_the_import_and_is_repeated(write_module):
    write_module('hooked_badly', '')
    calls = []

    def callback(module):
        calls.append(module.__name__)
        if len(calls) == 1:
            raise RuntimeError('callback failed')

    on_import('hooked_badly', callback)
    with pytest.raises(RuntimeError, match='callback failed'):
        importlib.import_module('hooked_badly')
    assert 'hooked_badly' not in sys.modules
    importlib.import_module('hooked_badly')
    assert calls == ['hooked_badly'] * 2


def test_callback_that_raises_at_once_is_repeated_at_the_next_call(write_module):
    write_module('hooked_badly_early', '')
    importlib.import_module('hooked_badly_early')
    calls = []

    def callback(module):
        calls.append(module)
        if len(calls) == 1:
            raise RuntimeError('callback failed')

    with pytest.raises(RuntimeError, match='callback failed'):
        on_import('hooked_badly_early', callback)
    on_import('hooked_badly_early', lambda module: None)
    assert len(calls) == 2


def test_the_module_sees_only_its_real_loader(write_module):
    write_module('looks_at_its_loader', 'SEEN = (type(__loader__), type(__spec__.loader))')
    on_import('looks_at_its_loader', lambda module: None)
    module = importlib.import_module('looks_at_its_loader')
    assert set(module.SEEN) == {SourceFileLoader}
    assert type(module.__spec__.loader) is SourceFileLoader


def test_wrapped_loader_hands_on_and_can_be_copied(write_module):
    write_module('only_looked_at', 'VALUE = 1')
    on_import('only_looked_at', lambda module: None)
    spec = importlib.util.find_spec('only_looked_at')
    assert spec.loader.get_source('only_looked_at') == 'VALUE = 1'
    assert copy.copy(spec.loader).path == spec.origin
    with pytest.raises(AttributeError):
        spec.loader.no_such_method  # noqa: B018


def test_threads_that_import_at_once_call_back_once(write_module):
    write_module('imported_by_many', 'import time\ntime.sleep(0.05)')
    seen = []
    on_import('imported_by_many', seen.append)
    threads = [threading.Thread(target=importlib.import_module, args=('imported_by_many',)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1


def test_callback_may_wait_for_an_import_in_another_thread(write_module):
    write_module('slow_neighbour', 'import time\ntime.sleep(0.1)')
    write_module('needs_neighbour', '')
    seen = []
    on_import('slow_neighbour', lambda module: seen.append('neighbour'))
    on_import('needs_neighbour', lambda module: seen.append(importlib.import_module('slow_neighbour').__name__))
    other = threading.Thread(target=importlib.import_module, args=('slow_neighbour',))
    other.start()
    importlib.import_module('needs_neighbour')
    other.join(timeout=20)
    assert not other.is_alive()
    assert seen == ['neighbour', 'slow_neighbour']


def test_namespace_package_is_imported_unhooked(tmp_path, monkeypatch):
    (tmp_path / 'namespace_only').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    on_import('namespace_only', lambda module: None)
    assert list(importlib.import_module('namespace_only').__path__) == [str(tmp_path / 'namespace_only')]
    del sys.modules['namespace_only']


def test_error_is_translated(write_module):
    write_module('fails_darkly', 'raise RuntimeError("operator does not exist")')
    translate_import_error('fails_darkly', lambda error: ImportError(f'install it again ({error})'))
    with pytest.raises(ImportError, match=r'install it again \(operator does not exist\)') as caught:
        importlib.import_module('fails_darkly')
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_error_without_translation_stays(write_module):
    write_module('fails_clearly', 'raise ImportError("clear enough")')
    translate_import_error('fails_clearly', lambda error: None)
    with pytest.raises(ImportError, match='clear enough'):
        importlib.import_module('fails_clearly')


def test_missing_module_is_translated():
    translate_import_error('not_there_at_all', lambda error: ModuleNotFoundError(f'install {error.name}'))
    with pytest.raises(ModuleNotFoundError, match='install not_there_at_all'):
        importlib.import_module('not_there_at_all')


def test_missing_module_without_translation_fails_as_ever():
    on_import('not_there_either', lambda module: None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_there_either'"):
        importlib.import_module('not_there_either')
