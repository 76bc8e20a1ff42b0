from types import SimpleNamespace

from noise_mm.compat.registries import PACKAGES, add_packages


def _registries(locations, imported):
    return SimpleNamespace(**{name: SimpleNamespace(_locations=locations, _imported=imported) for name in PACKAGES})


def test_packages_are_added_once_and_after_mmyolos_own():
    registries = _registries(['mmyolo.models'], imported=False)
    add_packages(registries)
    add_packages(registries)
    assert registries.MODELS._locations == ['mmyolo.models', 'noise_mm.models']
    assert registries.METRICS._locations == ['mmyolo.models', 'noise_mm.evaluation']


def test_a_registry_that_has_imported_looks_again_but_only_once():
    registries = _registries([], imported=True)
    add_packages(registries)
    assert registries.MODELS._imported is False
    registries.MODELS._imported = True
    add_packages(registries)
    assert registries.MODELS._imported is True


def test_a_shared_list_of_locations_stays_as_it_is():
    shared = []
    add_packages(_registries(shared, imported=False))
    assert shared == []
