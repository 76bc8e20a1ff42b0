import json

import cv2
import numpy as np
import pytest
from shapely.geometry import Point, Polygon

from noise_mm.errors import InputError
from noise_mm.proposals.trap_regions import ProposalSettings, choose_threshold, propose, stain_strength, to_well
from noise_mm.slides.resample import slide_thumbnail
from noise_mm.slides.slide import open_slide

STAIN = (120, 70, 140)


def plate(ground=(225, 222, 215), light=0.0, side=600):
    """An empty plate, darker towards the right by the share `light`, with the noise of a camera."""
    picture = np.ones((side, side, 3), np.float32) * ground
    picture *= 1 - light * np.linspace(0, 1, side, dtype=np.float32)[None, :, None]
    return picture + np.random.default_rng(0).normal(0, 2, picture.shape)


def with_discs(picture, *discs, colour=STAIN):
    picture = picture.clip(0, 255).astype(np.uint8)
    for x, y, radius in discs:
        cv2.circle(picture, (x, y), radius, colour, -1)
    return picture


def proposals(picture, **settings):
    strength = stain_strength(picture)
    return propose(strength, choose_threshold([strength]), ProposalSettings(**settings), 1.0)


def iou(one, other):
    return one.intersection(other).area / one.union(other).area


@pytest.mark.parametrize('light', [0.0, 0.4])
@pytest.mark.parametrize('ground', [(225, 222, 215), (190, 160, 120)])
def test_stained_discs_are_found_on_any_ground_and_light(ground, light):
    found = proposals(with_discs(plate(ground, light), (100, 120, 40), (480, 400, 60)))
    assert len(found) == 2
    for outline, disc in zip(found, (Point(100, 120).buffer(40), Point(480, 400).buffer(60)), strict=True):
        assert iou(outline.geometry, disc) > 0.9
    assert [outline.name for outline in found] == ['P0001', 'P0002']


def test_small_regions_are_no_cells_and_an_empty_plate_has_none():
    assert len(proposals(with_discs(plate(), (100, 120, 40), (300, 300, 20)))) == 1  # 1,257 px2 are too few
    assert len(proposals(with_discs(plate(), (100, 120, 40), (300, 300, 20)), min_area_px2=1000)) == 2
    assert proposals(with_discs(plate())) == []


def test_touching_cells_are_split_and_one_cell_with_a_wide_neck_is_not():
    touching = with_discs(plate(), (200, 300, 50), (298, 300, 50))
    assert len(proposals(touching)) == 2
    cv2.rectangle(touching, (200, 270), (298, 330), STAIN, -1)
    assert len(proposals(touching)) == 1


def test_thin_processes_are_left_out_and_light_nuclei_are_filled():
    picture = with_discs(plate(), (200, 300, 50))
    cv2.line(picture, (250, 300), (500, 300), STAIN, 6)
    cv2.circle(picture, (200, 300), 8, (225, 222, 215), -1)
    [cell] = proposals(picture)
    assert iou(cell.geometry, Point(200, 300).buffer(50)) > 0.93


def test_outlines_are_enlarged_with_their_names():
    [cell] = proposals(with_discs(plate(), (200, 300, 50)))
    [large] = to_well([cell], 2)
    assert large.geometry.area == pytest.approx(4 * cell.geometry.area) and large.name == cell.name


@pytest.mark.parametrize('settings', [{'min_area_px2': 0}, {'process_px': -1}, {'neck': 0}, {'neck': 1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match='--'):
        ProposalSettings(**settings)


def test_no_image_gives_no_threshold():
    with pytest.raises(InputError, match='no image'):
        choose_threshold([])


def test_the_clear_cells_of_a_real_image_are_proposed(shared_dir):
    """A smoke check and no accuracy: the outlines of this image began as a colour threshold themselves."""
    folder = shared_dir / 'data' / 'real_trap'
    with open_slide(folder / 'oc_finder_example.tif') as slide:
        strength = stain_strength(slide_thumbnail(slide, 960))
    found = to_well(propose(strength, choose_threshold([strength]), ProposalSettings(), 0.5), 2)
    clear = [
        Polygon(np.reshape(annotation['segmentation'][0], (-1, 2))).buffer(0)
        for annotation in json.loads((folder / 'oc_finder_example_coco.json').read_text())['annotations']
        if annotation['attributes']['confidence'] == 'clear'
    ]
    best = [max(iou(cell, outline.geometry) for outline in found) for cell in clear]
    assert min(best[:3]) >= 0.5  # the giants
    assert sum(value >= 0.5 for value in best) >= 4
