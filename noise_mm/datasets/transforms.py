"""The steps from a patch and its annotation to a training sample: YOLOv8's augmentation, with outlines kept exact.

Three differences from MMYOLO's steps of the same kind, all about outlines:

* Outlines that leave the picture are clipped as polygons, and boxes are taken from the clipped outlines. MMYOLO
  resamples outlines and takes boxes from the vertices that survive, which shrinks them at borders.
* Ignore flags follow every step that sorts or drops objects.
* Masks are drawn once, at the resolution of the prototypes, for any number of objects.

What happens to ignored regions: they pass through all steps, so that a model which knows what to do with them finds
them in `ignored_instances`. YOLOv8's losses don't know ignored regions; `PackDetInputs` takes them out of the targets,
and the network is taught that there is background.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmyolo.datasets.transforms import Mosaic, YOLOv5RandomAffine
from mmyolo.registry import TRANSFORMS

from noise_mm.datasets.patch_images import fit_within, read_patch
from noise_mm.datasets.rings import Rings
from noise_mm.datasets.target_masks import PROTOTYPE_STRIDE_PX, index_map, mask_stack
from noise_mm.datasets.targets import RingMasks, Targets
from noise_mm.errors import InputError

PAD_VAL = 114  # Ultralytics' grey; black borders look like cells, and white ones like empty background


def with_patch_loader(steps: Any) -> Any:
    """Return a pipeline whose `LoadImageFromFile` is `LoadPatch`, in the pipelines of its steps as well.

    Configs say `LoadImageFromFile`, because MMDetection's inference looks for this name. Patches of a dataset may lie
    in memory, be reduced copies, or be broken: `LoadPatch` knows all that.
    """
    if isinstance(steps, list | tuple):
        return type(steps)(with_patch_loader(step) for step in steps)
    if not isinstance(steps, Mapping):
        return steps
    step = type(steps)({key: with_patch_loader(value) for key, value in steps.items()})
    if str(step.get('type')).rpartition('.')[2] == 'LoadImageFromFile':
        step['type'] = 'mmyolo.LoadPatch'
    return step


@TRANSFORMS.register_module()
class LoadPatch(LoadImageFromFile):
    """Loads the patch of `img_path`, or takes the one already in `img` (from the dataset's memory, or from a caller).

    `ori_shape` becomes the size that the annotation was made for (`height`, `width`): detections are scaled back to it
    and scored there, also if the stored patch is a smaller copy. Without annotation it is the image's own size.

    This project's datasets take it where a pipeline says `LoadImageFromFile`; see `with_patch_loader`.

    Raises:
        InputError: If the file is not an image, or of other proportions than its annotation says.
    """

    def transform(self, results: dict) -> dict:
        """Adds `img`, `img_shape` and `ori_shape`."""
        if 'img' not in results:
            results['img'] = read_patch(results['img_path'])
        height, width = results['img'].shape[:2]
        ori_height, ori_width = results.get('height', height), results.get('width', width)
        # A reduced copy has whole pixels, so its proportions may be off by half a pixel of its own.
        if abs(height * ori_width - width * ori_height) > max(ori_height, ori_width):
            raise InputError(
                f'{results["img_path"]}: is {width} x {height} px, but was annotated at {ori_width} x {ori_height} px. '
                'Extract the patches again.'
            )
        results['img_shape'] = (height, width)
        results['ori_shape'] = (ori_height, ori_width)
        return results


@MMENGINE_TRANSFORMS.register_module()  # for tools in MMDetection's scope, such as DetInferencer
@TRANSFORMS.register_module()
class FitPatch(BaseTransform):
    """Brings the image to the size of the network, in proportion; `pad` fills it up to a square.

    Replaces MMYOLO's `YOLOv5KeepRatioResize` and `LetterResize`, which lose track of the annotated size when the stored
    patch is a smaller copy. Put it before `LoadTargets`: it moves the image only.

    Args:
        network_size_px: Longer side of the image afterwards, in pixels.
        pad: Whether to pad the shorter side, equally on both ends.
        pad_val: Value of padding in all three channels, 0 to 255.

    Raises:
        InputError: If the patch was already reduced to less than the network wants.
    """

    def __init__(self, network_size_px: int, pad: bool = True, pad_val: int = PAD_VAL) -> None:
        self.network_size_px = network_size_px
        self.pad = pad
        self.pad_val = pad_val

    def transform(self, results: dict) -> dict:
        """Changes `img` and `img_shape`; adds `scale_factor` (x, y) and `pad_param` (top, bottom, left, right)."""
        stored_px, annotated_px = max(results['img_shape']), max(results['ori_shape'])
        if stored_px < min(self.network_size_px, annotated_px):
            raise InputError(
                f'{results.get("img_path", "the image")}: reduced from {annotated_px} to {stored_px} px before, but '
                f'the network wants {self.network_size_px} px. Extract or cache the patches at that size.'
            )
        image = fit_within(results['img'], self.network_size_px)
        height, width = image.shape[:2]
        results['scale_factor'] = (width / results['ori_shape'][1], height / results['ori_shape'][0])
        missing_y, missing_x = (self.network_size_px - height, self.network_size_px - width) if self.pad else (0, 0)
        top, left = missing_y // 2, missing_x // 2
        bottom, right = missing_y - top, missing_x - left
        if missing_x or missing_y:
            image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(self.pad_val,) * 3)
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['pad_param'] = np.array([top, bottom, left, right], dtype=np.float32)
        return results


@TRANSFORMS.register_module()
class LoadTargets(BaseTransform):
    """Turns the dataset's `instances` into targets in pixels of the image as it is now.

    Unlike MMYOLO's `LoadAnnotations`, it keeps several parts of one object as they are instead of joining them by
    lines, and keeps ignored regions. What reaches over the image's border is clipped.

    Args:
        with_mask: Whether outlines are trained. Boxes then are the extents of the outlines.

    Raises:
        InputError: If outlines are wanted and an object has only a box.
    """

    def __init__(self, with_mask: bool) -> None:
        self.with_mask = with_mask

    def transform(self, results: dict) -> dict:
        """Replaces `instances` by `gt_bboxes`, `gt_bboxes_labels`, `gt_ignore_flags` and `gt_masks`."""
        instances = results.pop('instances')
        rings = None
        if self.with_mask:
            if any('mask' not in instance for instance in instances):
                raise InputError(
                    f'{results["img_path"]}: an object has a box but no outline. Train a detector on this dataset '
                    '(LoadTargets with_mask=False), or annotate outlines.'
                )
            rings = Rings.from_lists([instance['mask'] for instance in instances])
        targets = Targets(
            np.array([instance['bbox'] for instance in instances], dtype=np.float64).reshape(-1, 4),
            np.array([instance['bbox_label'] for instance in instances], dtype=np.int64),
            np.array([instance['ignore_flag'] for instance in instances], dtype=bool),
            rings,
        )
        scale_x, scale_y = results['scale_factor']
        top, bottom, left, right = results['pad_param'].tolist()
        height, width = results['img_shape']
        targets = targets.moved(np.array([[scale_x, 0, 0], [0, scale_y, 0]], dtype=np.float64))
        targets = targets.clipped(width - left - right, height - top - bottom).seen()
        targets.moved(np.array([[1, 0, left], [0, 1, top]])).write_to(results)
        return results


@TRANSFORMS.register_module()
class PatchMosaic(Mosaic):
    """Four patches around a random centre on a canvas of twice the network's size; `PatchAffine` cuts a piece out.

    MMYOLO's `Mosaic` with outlines clipped exactly to the canvas. By default the other three patches are drawn from the
    last `max_cached_images` that this worker loaded, as Ultralytics does: one file is read for each sample instead of
    four. With `use_cached=False` they are drawn from the whole dataset, and `pre_transform` must load them.

    Args:
        network_size_px: Half the side of the canvas.
        pad_val: Value of the canvas where no patch lies, 0 to 255.
        use_cached: See above.
        max_cached_images: Patches that each worker remembers, 0.52 MB each at 416 px. Ultralytics: 8 batches.
        kwargs: Further arguments of MMYOLO's `Mosaic`, such as `prob` and `pre_transform`.
    """

    def __init__(
        self,
        network_size_px: int,
        pad_val: int = PAD_VAL,
        use_cached: bool = True,
        max_cached_images: int = 128,
        **kwargs: object,
    ) -> None:
        super().__init__(
            img_scale=(network_size_px, network_size_px),
            pad_val=pad_val,
            use_cached=use_cached,
            max_cached_images=max_cached_images,
            **kwargs,
        )

    def mix_img_transform(self, results: dict) -> dict:
        """Replaces the image by the canvas, and the targets by those of all four patches."""
        side_px = 2 * self.img_scale[0]
        canvas = np.full((side_px, side_px, 3), self.pad_val, dtype=np.uint8)
        centre = [int(np.random.uniform(*self.center_ratio_range) * side) for side in self.img_scale]
        parts = []
        corners = ('top_left', 'top_right', 'bottom_left', 'bottom_right')
        for corner, patch in zip(corners, [results, *results['mix_results']], strict=True):
            height, width = patch['img'].shape[:2]
            (x1, y1, x2, y2), (from_x, from_y, to_x, to_y) = self._mosaic_combine(corner, centre, (width, height))
            canvas[y1:y2, x1:x2] = patch['img'][from_y:to_y, from_x:to_x]
            offset = np.array([[1, 0, x1 - from_x], [0, 1, y1 - from_y]])
            parts.append(Targets.from_results(patch).moved(offset))
        results['img'] = canvas
        results['img_shape'] = canvas.shape[:2]
        Targets.joined(parts).clipped(side_px, side_px).seen().write_to(results)
        return results


@TRANSFORMS.register_module()
class PatchAffine(YOLOv5RandomAffine):
    """Random scaling, shift, rotation and shear about the image's centre, and the crop to the size of the network.

    MMYOLO's `YOLOv5RandomAffine` with outlines transformed as they are (not resampled) and clipped exactly. Image
    and outlines share one pixel convention here: a pixel's centre is at its index plus a half. (Applying the matrix
    of the outlines to pixel indices would shift the image by up to a quarter pixel.)

    Objects are dropped by Ultralytics' rule (`box_candidates`): a visible part no larger than `min_bbox_size` px in
    width or height, or no larger than `min_area_ratio` of the whole in box area, or at least `max_aspect_ratio` times
    longer than wide. A dropped object is background from then on. Ignored regions are kept as long as any of them is
    visible, because what is left of them is no background.

    Args:
        network_size_px: Side of the square that comes out.
        pad_val: Value outside the image, 0 to 255.
        max_rotate_degree, max_shear_degree: Ranges in degrees, both directions.
        max_translate_ratio: Largest shift, as a fraction of the side.
        scaling_ratio_range: Smallest and largest factor.
        min_bbox_size, min_area_ratio, max_aspect_ratio: See above. Ultralytics' `min_area_ratio` is 0.01 where outlines
            are trained and 0.1 where only boxes are.
    """

    def __init__(
        self,
        network_size_px: int,
        pad_val: int = PAD_VAL,
        max_rotate_degree: float = 0.0,
        max_shear_degree: float = 0.0,
        max_translate_ratio: float = 0.1,
        scaling_ratio_range: Sequence[float] = (0.5, 1.5),
        min_bbox_size: float = 2,
        min_area_ratio: float = 0.01,
        max_aspect_ratio: float = 100.0,
    ) -> None:
        super().__init__(
            max_rotate_degree=max_rotate_degree,
            max_shear_degree=max_shear_degree,
            max_translate_ratio=max_translate_ratio,
            scaling_ratio_range=tuple(scaling_ratio_range),
            min_bbox_size=min_bbox_size,
            min_area_ratio=min_area_ratio,
            max_aspect_ratio=max_aspect_ratio,
        )
        self.network_size_px = network_size_px
        self.pad_val = pad_val

    def transform(self, results: dict) -> dict:
        """Changes `img`, `img_shape` and the targets."""
        side_px = self.network_size_px
        matrix, scale = self._get_random_homography_matrix(side_px, side_px)
        height, width = results['img'].shape[:2]
        to_centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
        matrix = (matrix.astype(np.float64) @ to_centre)[:2]
        results['img'] = cv2.warpAffine(
            results['img'], _on_pixel_indices(matrix), (side_px, side_px), borderValue=(self.pad_val,) * 3
        )
        results['img_shape'] = (side_px, side_px)

        before = Targets.from_results(results)
        after = before.moved(matrix).clipped(side_px, side_px)
        visible = (after.boxes[:, 2:] > after.boxes[:, :2]).all(1)
        kept = self._large_enough(before.boxes * scale, after.boxes) | (after.ignore_flags & visible)
        after.selected(np.flatnonzero(kept)).write_to(results)
        return results

    def _large_enough(self, whole: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """(n,) bool: which objects stay, from their boxes (n, 4) before and after clipping, at the same scale."""
        sides, whole_sides = visible[:, 2:] - visible[:, :2], whole[:, 2:] - whole[:, :2]
        area_ratio = sides.prod(1) / np.maximum(whole_sides.prod(1), 1e-9)
        aspect_ratio = sides.max(1, initial=0) / np.maximum(sides.min(1, initial=np.inf), 1e-9)
        return (
            (sides > self.min_bbox_size).all(1)
            & (area_ratio > self.min_area_ratio)
            & (aspect_ratio < self.max_aspect_ratio)
        )


def _on_pixel_indices(matrix: np.ndarray) -> np.ndarray:
    """An affine matrix (2, 3) for OpenCV, whose whole numbers are pixel centres, from one whose are pixel corners."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return shifted


@TRANSFORMS.register_module()
class RandomQuarterTurn(BaseTransform):
    """Turns the image by 90 degrees counter-clockwise with probability `prob`.

    Together with horizontal and vertical flips, all three with probability 0.5, every one of the eight orientations is
    equally likely: cells on a dish have no up.
    """

    def __init__(self, prob: float) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Changes `img`, `img_shape` and the targets."""
        if np.random.uniform() >= self.prob:
            return results
        targets = Targets.from_results(results)
        width = results['img'].shape[1]
        results['img'] = cv2.rotate(results['img'], cv2.ROTATE_90_COUNTERCLOCKWISE)
        results['img_shape'] = results['img'].shape[:2]
        targets.moved(np.array([[0, 1, 0], [-1, 0, width]])).write_to(results)
        return results


@TRANSFORMS.register_module()
class DrawTargetMasks(BaseTransform):
    """Draws the masks of the targets for the mask loss, and sorts the targets by falling area.

    Replaces MMYOLO's `Polygon2Mask`, which fills at full size and shrinks, stops at the 255th object and leaves
    ignore flags unsorted. Areas are those of the outlines. Ignored regions are not drawn and come last.

    Args:
        overlap: True for one index map an image, in which the k-th target has the value k and small objects lie on
            large ones (`gt_panoptic_seg`, as MMYOLO's `PackDetInputs` calls it; `gt_outlines` are the outlines, for
            `PackPatch`). False for one mask a target
            (`gt_masks`, a uint8 tensor). Must agree with `overlap_masks` of the head.
        stride_px: Network pixels for each pixel of the masks.
    """

    def __init__(self, overlap: bool = True, stride_px: int = PROTOTYPE_STRIDE_PX) -> None:
        self.overlap = overlap
        self.stride_px = stride_px

    def transform(self, results: dict) -> dict:
        """Sorts the targets and replaces `gt_masks`."""
        targets = Targets.from_results(results)
        order = np.lexsort((-targets.rings.areas(), targets.ignore_flags))
        targets = targets.selected(order)
        targets.write_to(results)
        height, width = results['img_shape'][:2]
        grid_hw = (height // self.stride_px, width // self.stride_px)
        del results['gt_masks']
        if self.overlap:
            drawn = targets.selected(np.flatnonzero(~targets.ignore_flags)).rings
            results['gt_outlines'] = RingMasks(drawn, height, width)
            results['gt_panoptic_seg'] = torch.from_numpy(index_map(drawn, grid_hw, self.stride_px))[None]
        else:
            results['gt_masks'] = torch.from_numpy(mask_stack(targets.rings, grid_hw, self.stride_px))
        return results
