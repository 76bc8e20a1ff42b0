"""Processes and the wells that each of them predicts."""

import pytest

from noise_mm.distributed import Ranks
from noise_mm.inference.partition import partition


@pytest.fixture
def images(tmp_path):
    """Files of 1, 2, ... 7 kB."""
    paths = [tmp_path / f'{size}.tif' for size in range(1, 8)]
    for size, path in enumerate(paths, 1):
        path.write_bytes(bytes(1000 * size))
    return paths


@pytest.mark.parametrize('count', [1, 2, 3, 9])
def test_each_image_belongs_to_one_process(images, count):
    shares = [partition(images, Ranks(rank, count)) for rank in range(count)]
    assert sorted(image for share in shares for image in share) == images
    assert all(share == [image for image in images if image in share] for share in shares)


def test_processes_read_about_equally_many_bytes(images):
    sums = [sum(image.stat().st_size for image in partition(images, Ranks(rank, 2))) for rank in range(2)]
    assert sums == [14000, 14000]


def test_a_missing_image_belongs_to_one_process_too(images):
    images[3].unlink()
    assert sum(images[3] in partition(images, Ranks(rank, 3)) for rank in range(3)) == 1
