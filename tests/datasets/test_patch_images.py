"""Reading, resizing and keeping patches."""

import copy
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from noise_mm.datasets.patch_images import AUTO_SHARE, PatchCache, fit_within, has_room, read_patch
from noise_mm.errors import InputError


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8))
    return path


def test_a_patch_is_read_as_it_was_written(picture: Path) -> None:
    np.testing.assert_array_equal(read_patch(picture), cv2.imread(str(picture)))


@pytest.mark.parametrize('content', [b'', b'a text file', None])
def test_what_is_no_whole_image_is_refused(picture: Path, content: bytes | None) -> None:
    picture.write_bytes(picture.read_bytes()[:-200] if content is None else content)
    with pytest.raises(InputError, match='not an image, or a truncated one') as raised:
        read_patch(picture)
    assert str(raised.value).startswith(str(picture))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'none\.png: cannot be read'):
        read_patch(tmp_path / 'none.png')


def test_halving_takes_the_mean_of_four_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    means = image.reshape(4, 2, 4, 2, 3).mean((1, 3))
    assert np.abs(fit_within(image, 4) - means).max() <= 0.5


@pytest.mark.parametrize(
    ('shape', 'expected'), [((40, 64), (20, 32)), ((64, 40), (32, 20)), ((16, 8), (32, 16)), ((90, 1), (32, 1))]
)
def test_the_longer_side_decides(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_within(np.zeros((*shape, 3), np.uint8), 32).shape[:2] == expected


def test_the_cache_gives_what_reading_gives(picture: Path) -> None:
    cache = PatchCache.read({5: str(picture)}, 32)
    expected = fit_within(read_patch(picture), 32)
    patch = cache[5]
    np.testing.assert_array_equal(patch, expected)
    patch[:] = 0
    np.testing.assert_array_equal(cache[5], expected)
    assert copy.deepcopy(cache) is cache


def test_a_cache_larger_than_the_memory_is_refused(picture: Path) -> None:
    with pytest.raises(InputError, match="Set cache='none'"):
        PatchCache.read({1: str(picture)}, 10_000_000)


def test_half_of_the_free_memory_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 3 * 416**2 * 1000
    free = dict.fromkeys(psutil.virtual_memory()._fields, 0)
    for available, expected in ((needed / AUTO_SHARE + 1, True), (needed / AUTO_SHARE - 1, False)):
        memory = type(psutil.virtual_memory())(**free | {'available': available})
        monkeypatch.setattr(psutil, 'virtual_memory', lambda memory=memory: memory)
        monkeypatch.setattr('multiprocessing.get_start_method', lambda allow_none: 'fork')
        assert has_room(1000, 416) is expected
        monkeypatch.setattr('multiprocessing.get_start_method', lambda allow_none: 'spawn')
        assert has_room(200, 416) is expected  # five copies
