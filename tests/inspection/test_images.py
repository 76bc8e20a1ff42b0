import cv2
import numpy as np
import pytest

from noise_mm.coco import issues as kinds
from noise_mm.coco.issues import Issue
from noise_mm.inspection.annotation_files import find_parts
from noise_mm.inspection.dataset import check_part
from noise_mm.inspection.images import check_images, unlisted_images
from noise_mm.patches.png_writer import png_bytes


def checked(dataset):
    return check_part(find_parts(dataset)[0][0])


def results(dataset, workers=2):
    one = checked(dataset)
    return list(check_images(one.part, one.patches, workers))


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def flipped_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def other_size(path):
    path.write_bytes(png_bytes(np.zeros((96, 95, 3), np.uint8)))


def one_pixel_changed(path):
    pixels = cv2.imread(str(path))
    pixels[5, 5] ^= 1
    cv2.imwrite(str(path), pixels)


def test_good_images_differ(dataset):
    pictures = results(dataset)
    assert len({picture.digest for picture in pictures}) == len(pictures) == 6
    assert [picture.patch for picture in pictures] == checked(dataset).patches
    assert results(dataset, workers=1) == pictures


@pytest.mark.parametrize(
    ('spoil', 'kind', 'what'),
    [
        (lambda path: path.unlink(), kinds.MISSING_IMAGE, 'listed in M1/annotations.json as image 3, but not there'),
        (truncated, kinds.CORRUPT_IMAGE, 'truncated'),
        (flipped_byte, kinds.CORRUPT_IMAGE, 'damaged'),
        (lambda path: path.write_bytes(b''), kinds.CORRUPT_IMAGE, 'not an image of a known format'),
        (other_size, kinds.WRONG_SIZE, '95 x 96 px, annotated as 96 x 96 px (image 3)'),
    ],
)
def test_spoiled_image_is_named(dataset, spoil, kind, what):
    spoil(dataset / 'M1' / 'images' / 'M1_w2_0_0.png')
    found = [result for result in results(dataset) if isinstance(result, Issue)]
    assert len(found) == 1
    assert found[0].kind == kind and what in found[0].what
    assert found[0].place == 'M1/images/M1_w2_0_0.png'


def test_digest_is_of_the_pixels_and_not_of_the_file(dataset):
    path = dataset / 'M1' / 'images' / 'M1_w2_0_0.png'
    before = results(dataset)[2].digest
    cv2.imwrite(str(path), cv2.imread(str(path)), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert results(dataset)[2].digest == before
    one_pixel_changed(path)
    assert results(dataset)[2].digest != before


def test_plain_image_has_no_digest(dataset):
    (dataset / 'M1' / 'images' / 'M1_w2_0_0.png').write_bytes(png_bytes(np.full((96, 96, 3), 255, np.uint8)))
    assert results(dataset)[2].digest is None


def test_unlisted_images(dataset):
    for name in ('extra.png', '.hidden.png'):
        (dataset / 'M1' / 'images' / name).write_bytes(b'')
    one = checked(dataset)
    assert [issue.place for issue in unlisted_images(one.part, one.patches)] == ['M1/images/extra.png']
    assert kinds.UNLISTED_IMAGE.is_note


def test_no_folder_of_images(dataset):
    (dataset / 'M1' / 'images').rename(dataset / 'elsewhere')
    one = checked(dataset)
    assert unlisted_images(one.part, one.patches) == []
    assert {result.kind for result in results(dataset)} == {kinds.MISSING_IMAGE}
