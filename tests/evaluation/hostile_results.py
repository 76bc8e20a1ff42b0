"""Scores damaged COCO results and ground truth, one after the other, and prints what became of each; see the test."""

import copy
import json
import sys

import numpy as np

from noise_mm.errors import InputError
from noise_mm.evaluation.coco_results import evaluate_coco_results

FAR = [1e300, -1e300, 1e18, -1e18, 2**31, 2**32, 2**63, 10**400, 301, -201, float('nan'), float('inf'), -float('inf')]
ODD = [
    None,
    True,
    -1,
    0.5,
    '',
    'text',
    'é',
    [],
    {},
    [[]],
    [None],
    [{}],
    {'a': 1},
    [[[]]],
    2**70,
    1e400,
    b'',
    [['x'] * 6],
]


def main() -> None:
    """Print one line of JSON for each case."""
    for name, truth, results in cases():
        for kinds in (('segm',), ('bbox',), ('segm', 'bbox')):
            try:
                outcome = evaluate_coco_results(truth, results, kinds).mean_scores(kinds[0])[0].ap
                outcome = 'scored' if np.isnan(outcome) or 0 <= outcome <= 1 else f'AP {outcome}'
            except InputError as error:
                outcome = 'refused' if len(str(error).splitlines()) == 1 else f'several lines: {error}'
            except Exception as error:  # noqa: BLE001
                outcome = f'{type(error).__name__}: {error}'
            print(json.dumps([name, kinds, outcome]), flush=True)


def sound() -> tuple[dict, list[dict]]:
    square = [10, 10, 60, 10, 60, 60, 10, 60]
    truth = {
        'images': [{'id': 1, 'file_name': 'a.png', 'width': 100, 'height': 100}],
        'categories': [{'id': 1, 'name': 'osteoclast'}],
        'annotations': [
            {'id': k, 'image_id': 1, 'category_id': 1, 'bbox': [10, 10, 50, 50], 'segmentation': [square], 'iscrowd': 0}
            for k in (1, 2)
        ],
    }
    results = [
        {'image_id': 1, 'category_id': 1, 'score': 0.5, 'bbox': [10, 10, 50, 50], 'segmentation': [square]}
        for _ in range(2)
    ]
    return truth, results


def cases():
    """Yield name, ground truth and results: each place in them takes each hostile value."""
    values = {'segmentation': list(segmentations()), 'bbox': boxes()}
    for key in ('image_id', 'category_id', 'score', 'iscrowd', 'bbox', 'segmentation'):
        for value in values.get(key, [*ODD, *FAR]):
            if key != 'iscrowd':
                truth, results = sound()
                results[1][key] = value
                yield f'result {key} {str(value)[:60]}', truth, results
            if key != 'score':
                truth, results = sound()
                truth['annotations'][1][key] = value
                yield f'annotation {key} {str(value)[:60]}', truth, results
    for key in ('id', 'width', 'height'):
        for value in [*ODD, *FAR, 65535, 1]:
            truth, results = sound()
            truth['images'][0][key] = value
            yield f'image {key} {str(value)[:60]}', truth, results
    for value in ODD:
        for key in ('images', 'categories', 'annotations'):
            truth, results = sound()
            truth[key] = value
            yield f'{key} {str(value)[:60]}', truth, results
        yield f'result {value}', sound()[0], [value]
    yield from bombs()


def boxes():
    return [*ODD, *([1, 2, value, 4] for value in [*FAR, None, 'x', [], {}]), [1, 2, 3], list(range(5)), [-5, -5, 0, 0]]


def segmentations():
    yield from ODD
    for far in [*FAR, None, 'x', [], {}]:
        yield [[10, 10, far, 10, 60, 60]]
        yield [[10, 10, 60, 10, 60, far]]
        yield [10, 10, 60, far, 60, 60]
        yield {'size': [100, far], 'counts': 'a'}
        yield {'size': [100, 100], 'counts': [far]}
        yield {'size': [100, 100], 'counts': [far, 10000]}
        yield {'size': far, 'counts': [0, 10000]}
    yield from ([[1] * n] for n in range(8))
    yield [[10, 10] * 3]
    texts = [
        '',
        '0',
        'P',
        'PPPPPPPPPPPP',
        'o' * 5000,
        '0' * 5000,
        'zzzz',
        '\x00',
        'aO1',
        '1' * 4,
        'ä',
        'a\x00',
        'O' * 50,
    ]
    yield from ({'size': [100, 100], 'counts': text} for text in texts)
    yield from ({'size': [100, 100], 'counts': text.encode()} for text in texts)
    yield {'size': [0, 0], 'counts': '0'}
    yield {'size': [100, 100]}
    yield {'counts': 'a'}
    yield {'size': '12', 'counts': 'a'}


def bombs():
    """What is small in a file and would be large in memory, or never end."""
    truth, results = sound()
    truth['images'][0].update(width=65535, height=65535)
    full = [0, 65535**2]
    masked = copy.deepcopy(results[0])
    masked['segmentation'] = {'size': [65535, 65535], 'counts': full}
    yield 'full masks of a large image', truth, [masked] * 3
    yield 'thousands of full masks of a large image', truth, [masked] * 3000
    zigzag = copy.deepcopy(results[0])
    zigzag['segmentation'] = [[-60000, 0, 120000, 5] * 20000]
    yield 'a zigzag across a large image', truth, [zigzag]
    truth, results = sound()
    results[0]['segmentation'] = [[10, 10, 60, 10, 60, 60] * 20000]
    yield 'many vertices', truth, results
    results[0]['segmentation'] = [[10, 10, 60, 10, 60, 60]] * 20000
    yield 'many parts', truth, results


if __name__ == '__main__':
    sys.exit(main())
