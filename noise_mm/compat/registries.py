"""Lets configs name the classes of noise_mm: MMYOLO's registries import our packages at their first look-up."""

from types import ModuleType

# MMYOLO registry -> our package, which registers its classes when it is imported.
PACKAGES = {
    'MODELS': 'noise_mm.models',
    'TASK_UTILS': 'noise_mm.models',
    'DATASETS': 'noise_mm.datasets',
    'TRANSFORMS': 'noise_mm.datasets',
    'HOOKS': 'noise_mm.hooks',
    'OPTIM_WRAPPERS': 'noise_mm.training',
    'RUNNERS': 'noise_mm.training',
    'METRICS': 'noise_mm.evaluation',
}


def add_packages(registries: ModuleType) -> None:
    """Adds our packages to the import locations of MMYOLO's registries, once.

    A registry imports its locations at the first `get` and then never again; one that has done so is told to look once
    more. Importing what is imported already costs nothing.

    Args:
        registries: The module `mmyolo.registry`.
    """
    for name, package in PACKAGES.items():
        registry = getattr(registries, name)
        if package not in registry._locations:
            # A new list: registries made without locations share one.
            registry._locations = [*registry._locations, package]
            registry._imported = False
