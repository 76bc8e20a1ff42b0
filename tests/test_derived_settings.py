import pytest

from noise_mm.derived_settings import refuse_overwritten, setting_behind
from noise_mm.errors import InputError

RESOLVED = {'a': 2, 'place': {'a': 2}, 'steps': [{'a': 2}]}


@pytest.fixture
def file(tmp_path):
    """`file(text)` -> a config beside `base.py`, in which `place.a` is 1."""
    (tmp_path / 'base.py').write_text('a = 1\nplace = dict(a=1)\nsteps = [dict(a=1)]\n')

    def write(text, name='child.py'):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('train_dataloader.batch_size', 'batch_size'),
        ('model.neck.in_channels', 'model_size'),
        ('train_dataloader.dataset.pipeline.0.type', 'train_pipeline or test_pipeline'),
        ('train_dataloader.dataset.metainfo.classes', 'classes'),
    ],
)
def test_setting_behind(name, expected):
    assert setting_behind(name) == expected


def test_inherited_value_may_be_overwritten(file):
    given = {'a': 2, 'place': {'a': 1}, 'steps': [{'a': 1}]}
    refuse_overwritten(file("_base_ = 'base.py'\na = 2\n"), given, RESOLVED)
    refuse_overwritten(file("_base_ = ['base.py']\na = 2\n"), given, RESOLVED)


@pytest.mark.parametrize('value', [3, 0, False])
@pytest.mark.parametrize('base', ["_base_ = 'base.py'\n", ''])
def test_own_value_may_not(file, value, base):
    with pytest.raises(InputError, match=rf'child\.py: place\.a = {value} .* makes it 2\. Set a instead'):
        refuse_overwritten(file(base), {'a': 2, 'place': {'a': value}}, RESOLVED)


def test_own_value_in_a_list_may_not(file):
    with pytest.raises(InputError, match=r'steps\.0\.a = 7'):
        refuse_overwritten(file("_base_ = 'base.py'"), {'steps': ({'a': 7},)}, RESOLVED)


@pytest.mark.parametrize('value', [None, [], {}, 2, (2,), [2]])
def test_placeholders_and_equal_values_pass(file, value):
    resolved = {'place': {'a': [2] if isinstance(value, list | tuple) else 2}}
    refuse_overwritten(file("_base_ = 'base.py'"), {'place': {'a': value}}, resolved)


@pytest.mark.parametrize('base', ["_base_ = 'mmdet::some.py'", '_base_ = some_name'])
def test_bases_that_cannot_be_named_are_not_compared(file, base):
    refuse_overwritten(file(base), {'place': {'a': 3}}, RESOLVED)


def test_other_formats_are_not_compared(file):
    refuse_overwritten(file('{}', 'child.json'), {'place': {'a': 3}}, RESOLVED)
