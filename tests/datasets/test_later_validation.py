import pytest

from noise_mm.datasets.later_validation import well_shown

WELLS = {'w1', 'w12', 'M1-3', 'a_1_2'}


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('w1', 'w1'),
        ('M1-w1', 'w1'),
        ('M1-w12', 'w12'),
        ('M1-w12_0_416', 'w12'),
        ('M1-a_1_2', 'a_1_2'),
        ('M1-a_1_2_0_832', 'a_1_2'),
        ('M1-img_3_4_5', 'M1-3'),
        ('M1-3', 'M1-3'),
        ('M1-w2', None),
        ('M1-w1_x', None),
        ('M2-w1', None),
        (None, None),
    ],
)
def test_the_well_that_an_image_with_nuclei_shows(name, expected):
    assert well_shown({'batch': 'M1', 'well': name}, WELLS) == expected
