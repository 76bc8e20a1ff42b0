import pkgutil
import sys
from types import ModuleType

from noise_mm.compat import removed_from_python


def test_find_loader_as_the_removed_one():
    assert removed_from_python.find_loader('json').get_filename() == sys.modules['json'].__file__
    assert removed_from_python.find_loader('no_such_module') is None


def test_users_get_find_loader_where_python_has_none(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    user = ModuleType('mmengine.utils.dl_utils.misc')
    user.pkgutil = pkgutil
    monkeypatch.setattr(removed_from_python, 'on_import', lambda name, callback: callback(user))
    removed_from_python.install()
    assert user.pkgutil.find_loader('json') is not None
    assert not hasattr(pkgutil, 'find_loader')


def test_nothing_changes_where_python_has_it(monkeypatch):
    monkeypatch.setattr(pkgutil, 'find_loader', lambda name: None, raising=False)
    hooked = []
    monkeypatch.setattr(removed_from_python, 'on_import', lambda name, callback: hooked.append(name))
    removed_from_python.install()
    assert hooked == []
