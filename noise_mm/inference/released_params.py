"""The parameter file of the released NOISe tool (github.com/michaelwwan/noise), in this project's terms."""

from dataclasses import dataclass
from pathlib import Path

from noise_mm.errors import InputError
from noise_mm.files import read_json

KEYS = ('model_path', 'img_foldername', 'out_foldername', 'ratio', 'device', 'total_well_area_in_pixels')
REQUIRED = KEYS[:3]


@dataclass(frozen=True)
class ReleasedParams:
    """What the file says.

    Attributes:
        weights: The checkpoint (`model_path`).
        wells: The folder of images (`img_foldername`).
        out: The folder for results (`out_foldername`).
        mpp: um per pixel (`ratio`), or None.
        device: As --device, or None.
        well_area_px2: Area of a well in px^2 (`total_well_area_in_pixels`); None where it is missing or 0.
    """

    weights: str
    wells: Path
    out: Path
    mpp: float | None
    device: str | None
    well_area_px2: float | None


def read_params(path: str | Path) -> ReleasedParams:
    """Read a `params.json`.

    Raises:
        InputError: If the file is not JSON, an entry is missing or unknown, or has an impossible value.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f'{path}: not an object with the keys {", ".join(KEYS)}. Correct it.')
    unknown = sorted(set(content) - set(KEYS))
    if unknown:
        raise InputError(f'{path}: unknown key {unknown[0]!r}. Known are {", ".join(KEYS)}.')
    for key in REQUIRED:
        if not isinstance(content.get(key), str) or not content[key]:
            raise InputError(f'{path}: {key} is missing or not a path. Add it.')
    device = content.get('device')
    if device is not None and not isinstance(device, str):
        raise InputError(f'{path}: device is {device!r}. Give a text such as "cpu" or "cuda:0".')
    return ReleasedParams(
        weights=content['model_path'],
        wells=Path(content['img_foldername']),
        out=Path(content['out_foldername']),
        mpp=_number(path, content, 'ratio'),
        device=device or None,
        well_area_px2=_number(path, content, 'total_well_area_in_pixels') or None,
    )


def _number(path: str | Path, content: dict, key: str) -> float | None:
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise InputError(f'{path}: {key} is {value!r}. Give a number.')
    if key == 'ratio' and value == 0:
        raise InputError(f'{path}: ratio is 0. Give um per pixel, such as 0.7784.')
    return float(value)
