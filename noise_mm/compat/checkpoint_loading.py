"""Makes MMEngine load checkpoints from files and URLs by this project's safe loader.

torch >= 2.6 refuses MMEngine 0.10.7's own checkpoints, because they hold a little more than tensors; torch 2.4 and 2.5
run whatever a file contains, and so does torch.hub, behind MMEngine's URLs, in all versions.
"""

from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch

from noise_mm.checkpoints.safe_loading import load_file
from noise_mm.errors import InputError


def make_mmengine_load_safely(checkpoint: ModuleType) -> None:
    """Replace MMEngine's loaders of files and URLs.

    Args:
        checkpoint: The module `mmengine.runner.checkpoint`.
    """
    checkpoint.CheckpointLoader.register_scheme(prefixes='', loader=_load_local, force=True)
    checkpoint.load_url = _load_url


def _load_local(filename: str, map_location: Any = None) -> Any:
    return load_file(Path(filename).expanduser(), map_location)


def _load_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, **_options: Any
) -> Any:
    return load_file(local_copy(url, model_dir, progress), map_location)


def local_copy(name: str | Path, model_dir: str | None = None, progress: bool = True) -> Path:
    """Return the file of a checkpoint; one behind a URL is downloaded into the cache of torch.hub, unless it is there.

    Raises:
        InputError: If it cannot be downloaded.
    """
    if not str(name).startswith(('http://', 'https://', 'file://')):
        return Path(name)
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    path = folder / Path(urlparse(str(name)).path).name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(str(name), str(path), progress=progress)
        except OSError as error:
            raise InputError(f'{name}: cannot be downloaded ({error}). Check address and network.') from error
    return path
