from dataclasses import replace

import numpy as np
import pytest

from noise_mm.errors import InputError
from noise_mm.evaluation.arms import Arm, _draws, difference_table, single_wells
from noise_mm.evaluation.evaluate import evaluate
from noise_mm.evaluation.matches_file import read_matches, write_matches
from noise_mm.evaluation.matching import ImageOverlaps, Pairs

WELLS = [('H1', 'a'), ('H1', 'b'), ('H1', 'c'), ('H2', 'a'), ('H2', 'd')]


def images(quality, batches=('H1', 'H2'), seed=0):
    """Two patches of each well with random overlaps, better ones for a higher quality; objects do not depend on it."""
    rng = np.random.default_rng(seed)
    found = []
    for number, (batch, well) in enumerate(well for well in WELLS for _ in range(2)):
        n_objects, n = int(rng.integers(3, 8)), 9
        ious = np.clip(rng.random((n, n_objects)) * quality, 0, 1)
        image = ImageOverlaps(
            image_id=number,
            batch=batch,
            well=well,
            scores=rng.random(n),
            classes=rng.integers(0, 2, n),
            areas_px2=None,
            object_classes=rng.integers(0, 2, n_objects),
            object_ignored=rng.random(n_objects) < 0.2,
            object_areas_px2=None,
            pairs={},
        )
        detections, objects = np.nonzero((image.classes[:, None] == image.object_classes) & (ious > 0.4))
        if batch in batches:
            found.append(replace(image, pairs={'segm': Pairs(detections, objects, ious[detections, objects])}))
    return found


def evaluated(found, mode='coco'):
    return evaluate(found, ('osteoclast', 'nucleus'), ('segm',), (0.5, 0.75), mode)


def arm(path, quality, mode='coco', folds=(('H1', 'H2'),)):
    files = [path / f'{quality}_{number}.npz' for number in range(len(folds))]
    for file, batches in zip(files, folds, strict=True):
        write_matches(file, evaluated(images(quality, batches), mode), 'segm')
    return Arm(f'quality {quality}', [read_matches(file) for file in files])


def copies(found, times):
    """Each image as often as its well is drawn; scores of copies differ by less than those of detections."""
    return [
        replace(image, image_id=number, scores=image.scores - 1e-9 * number)
        for number, image in enumerate(image for image in found for _ in range(times[image.batch, image.well]))
    ]


@pytest.mark.parametrize('mode', ['coco', 'ultralytics'])
def test_wells_that_count_several_times_are_as_copies_of_their_images(tmp_path, mode):
    read = arm(tmp_path, 0.9, mode)
    assert read.aps() == pytest.approx([score.ap for score in evaluated(images(0.9), mode).mean_scores('segm')])
    for times in _draws(WELLS, 20, seed=1):
        expected = evaluated(copies(images(0.9), times), mode).mean_scores('segm')
        assert read.aps(times) == pytest.approx([score.ap for score in expected], abs=1e-6)
        ours = read.folds[0].mean_scores(times)
        for name in ('n_objects', 'n_detections', 'n_true_positives'):
            assert [getattr(each, name) for each in ours] == [getattr(each, name) for each in expected]


def test_as_many_wells_of_each_batch_are_drawn_as_there_are():
    for times in _draws(WELLS, 50, seed=0):
        assert times.keys() == set(WELLS)
        assert sum(n for (batch, _), n in times.items() if batch == 'H1') == 3
    assert list(_draws(WELLS, 3, seed=5)) == list(_draws(WELLS, 3, seed=5))


def test_intervals_are_percentiles_of_recomputed_differences(tmp_path):
    """With folds for the third arm, whose AP is the mean of both."""
    arms = [arm(tmp_path, 0.7), arm(tmp_path, 0.85), arm(tmp_path, 1.0, folds=(('H1',), ('H2',)))]
    table = difference_table(arms, 'segm', draws=40, seed=3)

    def aps(quality, times, batches=('H1', 'H2')):
        found = evaluated(copies(images(quality, batches), times)).mean_scores('segm')
        return np.array([score.ap for score in found])

    drawn = []
    for times in [dict.fromkeys(WELLS, 1), *_draws(WELLS, 40, seed=3)]:
        third = (aps(1.0, times, ('H1',)) + aps(1.0, times, ('H2',))) / 2
        drawn.append([aps(0.7, times), aps(0.85, times), third])
    point, drawn = drawn[0], np.array(drawn[1:])
    for k, row in enumerate(table.rows):
        low, high = np.percentile(drawn[:, 1, k] - drawn[:, 0, k], [2.5, 97.5])
        shares = (drawn[:, 1, k] - drawn[:, 0, k]) / (drawn[:, 2, k] - drawn[:, 0, k])
        share = (point[1][k] - point[0][k]) / (point[2][k] - point[0][k])
        assert row.cells == [
            f'{point[0][k]:.3f}', f'{point[1][k]:.3f}', f'{point[1][k] - point[0][k]:.3f}', f'{low:.3f} to {high:.3f}',
            f'{point[2][k]:.3f}', f'{share:.3f}', '{:.3f} to {:.3f}'.format(*np.percentile(shares, [2.5, 97.5])),
        ]  # fmt: skip
    assert '40 draws of 5 wells within H1, H2' in table.title and 'seed 3' in table.title


def test_an_arm_does_not_differ_from_itself(tmp_path):
    read = arm(tmp_path, 0.9)
    for row in difference_table([read, read, read], 'segm', draws=5).rows:
        assert row.cells[2:4] == ['0.000', '0.000 to 0.000']
        assert row.cells[6] == '-'  # there is no gap


def test_arms_of_other_wells_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'well H2/a: \d+ and none'):
        difference_table([arm(tmp_path, 0.9), arm(tmp_path, 0.8, folds=(('H1',),))], 'segm', draws=5)
    assert single_wells(arm(tmp_path, 0.9)) == []


def test_images_without_a_well_are_wells_of_their_own(tmp_path):
    found = [replace(image, well='') for image in images(0.9)]
    write_matches(tmp_path / 'a.npz', evaluated(found), 'segm')
    assert len(read_matches(tmp_path / 'a.npz').wells) == len(found)


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'text'])
def test_damaged_files_are_named(tmp_path, content):
    with pytest.raises(InputError, match='no such file'):
        read_matches(tmp_path / 'a.npz')
    (tmp_path / 'a.npz').write_bytes(content)
    with pytest.raises(InputError, match='damaged'):
        read_matches(tmp_path / 'a.npz')
