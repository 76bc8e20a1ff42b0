"""Names are looked up as in a run of one of this project's configs, whatever earlier tests have left behind."""

from collections.abc import Iterator

import pytest
from mmengine.registry import DefaultScope

import noise_mm.register  # noqa: F401


@pytest.fixture(autouse=True)
def mmyolo_scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmyolo'):
        yield
