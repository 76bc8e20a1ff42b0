import pytest
import torch

from noise_mm.checkpoints.checkpoint_keys import ours_to_ultralytics
from noise_mm.checkpoints.yolov8_size import SIZES, YOLOv8Size, size_of


@pytest.fixture
def shapes(network):
    def of(**settings):
        with torch.device('meta'):
            state_dict = network(**settings).state_dict()
        return {name: tuple(tensor.shape) for name, tensor in ours_to_ultralytics(state_dict).items()}

    return of


@pytest.mark.parametrize('letter', SIZES)
@pytest.mark.parametrize(('classes', 'masks'), [(('a',), True), (('a', 'b'), False)])
def test_published_sizes(shapes, letter, classes, masks):
    size = size_of(shapes(size=letter, classes=classes, masks=masks))
    assert size == YOLOv8Size(letter, *SIZES[letter], num_classes=len(classes), masks=masks)
    assert size.task == ('segment' if masks else 'detect')


def test_width_that_is_not_published(reference_shapes):
    size = size_of(reference_shapes('tiny-seg_nc1.shapes.json'))
    assert size == YOLOv8Size('', 0.33, 0.0625, 1024, num_classes=1, masks=True)


def test_wrong_proportions(shapes):
    good = shapes()
    with pytest.raises(ValueError, match='proportions'):
        size_of({**good, 'model.3.conv.weight': (17, 32, 3, 3)})
    with pytest.raises(ValueError, match=r'\[1, 3, 2, 1, 1, 1, 1, 1\] bottlenecks'):
        size_of({**good, 'model.4.m.2.cv1.conv.weight': (32, 32, 3, 3)})


def test_convolution_of_wrong_dimensions(shapes):
    with pytest.raises(ValueError, match=r'model\.0\.conv\.weight is not a convolution: it has 1 dimensions'):
        size_of({**shapes(), 'model.0.conv.weight': (16,)})
