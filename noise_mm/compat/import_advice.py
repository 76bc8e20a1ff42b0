"""What a failed import of OpenCV, torchvision or an OpenMMLab package means here, and how to put it right.

Each function takes the exception of a failed import and gives the one to raise in its place, or None to leave it.
Nothing is checked before an import fails, so tools that need none of these packages run without them.
"""

from noise_mm.compat.on_import import translate_import_error

# The newest versions whose own checks of each other agree: MMYOLO 0.6.0 refuses mmcv >= 2.1.
_OPENMMLAB = ('mmcv-lite==2.0.1', 'mmengine==0.10.7', 'mmdet==3.3.0', 'mmyolo==0.6.0')
_INSTALL_OPENMMLAB = f'pip install {" ".join(_OPENMMLAB)}'


def install() -> None:
    """Lets the imports of these packages fail with advice."""
    translate_import_error('cv2', opencv)
    translate_import_error('torchvision', torchvision)
    translate_import_error('mmcv._ext', compiled_ops)
    for name in ('mmcv', 'mmengine', 'mmdet', 'mmyolo'):
        translate_import_error(name, openmmlab)


def opencv(error: Exception) -> ImportError | None:
    """OpenCV is missing, or it is the build with windows on a machine without their libraries (libGL, libgthread)."""
    if _is_missing(error, 'cv2'):
        return ModuleNotFoundError(
            'OpenCV is not installed. Install it: pip install opencv-python-headless', name='cv2'
        )
    library, is_missing, _ = str(error).partition(': cannot open shared object file')
    if not is_missing:
        return None
    return ImportError(
        f'OpenCV cannot be loaded, because this machine has no {library}. Install the build that needs none: '
        'pip uninstall -y opencv-python opencv-contrib-python && '
        'pip install --force-reinstall --no-deps opencv-python-headless',
        name='cv2',
    )


def torchvision(error: Exception) -> ImportError | None:
    """torchvision was built for another torch.

    It then fails with RuntimeError or AttributeError. MMEngine takes only ModuleNotFoundError for "not there", and its
    runner would stop at it when it lists the versions of the environment.
    """
    if isinstance(error, ImportError):
        return None
    return ModuleNotFoundError(
        f'torchvision does not fit the installed torch ({error}). noise_mm does without it; '
        'for other programs, install the torchvision that belongs to this torch or remove it.',
        name='torchvision',
    )


def compiled_ops(error: Exception) -> ImportError | None:
    """The full mmcv was compiled for another torch."""
    if not isinstance(error, ImportError):
        return None
    return ImportError(
        f'the compiled ops of the installed mmcv do not fit the installed torch ({error}). Compile mmcv again, or use '
        f'the build without them: pip uninstall -y mmcv && {_INSTALL_OPENMMLAB}',
        name='mmcv._ext',
    )


def openmmlab(error: Exception) -> ImportError | None:
    """An OpenMMLab package is missing, or it refuses another one's version by an `assert` at its import."""
    if isinstance(error, AssertionError):
        uninstall = 'pip uninstall -y mmcv && ' if installed_version('mmcv') else ''
        return ImportError(
            f'these OpenMMLab packages do not work together: {_installed_openmmlab()} ({error}). '
            f'Install versions that do: {uninstall}{_INSTALL_OPENMMLAB}'
        )
    if not any(_is_missing(error, name) for name in ('mmcv', 'mmengine', 'mmdet', 'mmyolo')):
        return None
    return ModuleNotFoundError(f'{error.name} is not installed. Install it: {_INSTALL_OPENMMLAB}', name=error.name)


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, read from its metadata without importing it; None if it's not there."""
    from importlib import metadata  # slow to import, and needed only after a failure

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _installed_openmmlab() -> str:
    names = ('mmcv', 'mmcv-lite', 'mmengine', 'mmdet', 'mmyolo')
    versions = {name: installed_version(name) for name in names}
    return ', '.join(f'{name} {version}' for name, version in versions.items() if version is not None)


def _is_missing(error: Exception, name: str) -> bool:
    """Whether the error says that this very module is not installed (and has not been translated yet)."""
    return isinstance(error, ModuleNotFoundError) and str(error) == f'No module named {name!r}'
