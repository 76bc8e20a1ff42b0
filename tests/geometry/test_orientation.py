import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from noise_mm.geometry.orientation import ORIENTATIONS, geometry_to_stored, shown_size, to_stored
from noise_mm.geometry.pixels import fill_pixels, trace


@pytest.mark.parametrize('orientation', ORIENTATIONS)
def test_places_are_where_pillow_shows_them(orientation):
    """A region drawn on the image as Pillow turns it covers the same pixels of the stored one."""
    stored = np.zeros((30, 50), np.uint8)
    stored[4:9, 10:30] = 200
    stored[9:20, 10:13] = 200
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(stored).save(file, 'PNG', exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    assert shown_size(orientation, (50, 30)) == shown.shape[::-1]
    back = geometry_to_stored(trace(shown > 0), orientation, (50, 30))
    np.testing.assert_array_equal(fill_pixels(back, 0, 0, 50, 30), stored > 0)


def test_points_keep_their_order():
    np.testing.assert_array_equal(to_stored([(1, 2), (3, 4)], 3, (50, 30)), [(49, 28), (47, 26)])
