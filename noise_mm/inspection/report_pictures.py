"""Pictures of a dataset: histograms of areas and counts, and a contact sheet of patches with their annotations."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from noise_mm.coco.reader import CocoAnnotation
from noise_mm.errors import InputError
from noise_mm.files import replacing
from noise_mm.inspection.annotation_files import read_part
from noise_mm.inspection.counts import CellCounts, NucleiCounts
from noise_mm.inspection.dataset import CheckedPart
from noise_mm.inspection.patch_entries import Patch
from noise_mm.inspection.shapes import examine
from noise_mm.slides.chunked import Rgb
from noise_mm.slides.slide import open_slide

COLUMNS = 4
SIDE_PX = 416  # of a patch on the sheet: that of the network, so that it shows what the network sees
CAPTION_PX = 22
GAP_PX = 8
COLOURS = {'osteoclast': (200, 0, 140), 'nucleus': (0, 110, 255)}
IGNORED_COLOUR = (255, 160, 0)
OTHER_COLOUR = (0, 0, 0)
SUBPIXEL_BITS = 4  # OpenCV draws lines at fractions of 1/16 px


def write_histograms(path: Path, cells: Sequence[CellCounts], nuclei: Sequence[NucleiCounts]) -> None:
    """Draw areas of cells, cells in a patch and nuclei in an image, one curve for each batch.

    Raises:
        InputError: If the folder can't be written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second, and only pictures need it
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    names = sorted({one.name for one in [*cells, *nuclei]})
    colours = {name: f'C{index}' for index, name in enumerate(names)}  # the same batch, the same colour
    panels = (
        ('area (um$^2$)', 'cells', {one.name: one.areas_um2 for one in cells}),
        ('outlines in a patch', 'patches', {one.name: one.per_patch for one in cells}),
        ('nuclei in an image', 'images', {one.name: one.nuclei for one in nuclei}),
    )
    for axes, (label, unit, batches) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axes.set(xlabel=label, ylabel=unit)
        batches = {name: np.array(values) for name, values in batches.items() if values is not None and len(values)}
        if not batches:
            axes.text(0.5, 0.5, 'none', ha='center', va='center', transform=axes.transAxes)
            continue
        least, most = (choose(map(choose, batches.values())) for choose in (min, max))
        if unit == 'cells':
            axes.set_xscale('log')
            bins = np.geomspace(least, max(most, least * 1.01), 41)
        else:
            bins = np.linspace(0, max(most, 1), 31)
        for name, values in batches.items():
            legend = f'{name}: {len(values)}, mean {values.mean():.0f}'
            axes.hist(values, bins, histtype='step', color=colours[name], label=legend)
        axes.legend(fontsize='small')
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def write_contact_sheet(path: Path, parts: Iterable[CheckedPart]) -> None:
    """Draw a row of patches for each annotation file, with outlines, boxes and regions to ignore.

    Patches are of different wells as far as there are enough, and of each the one with most objects. Images that can't
    be read are left out; the list of issues names them.

    Raises:
        InputError: If the folder can't be written to.
    """
    rows = [_row_of(part) for part in parts if part.patches]
    sheet = np.concatenate(rows) if rows else np.full((CAPTION_PX, SIDE_PX, 3), 255, np.uint8)
    _, data = cv2.imencode('.png', cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())


def chosen_patches(checked: CheckedPart, count: int) -> list[Patch]:
    """Return up to `count` patches with the most objects, from wells in turn that are spread over their list."""
    objects = Counter(one.patch.image_id for one in checked.labelled)
    wells: dict[tuple[str, str], list[Patch]] = defaultdict(list)
    for patch in sorted(checked.patches, key=lambda patch: -objects[patch.image_id]):
        wells[patch.batch, patch.well].append(patch)
    members = [wells[key] for key in sorted(wells)]
    spread = [members[index] for index in np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)]
    in_turn = [of_well[turn] for turn in range(count) for of_well in spread if turn < len(of_well)]
    return in_turn[:count]


def draw_region(pixels: Rgb, region: Polygon | MultiPolygon, colour: tuple[int, int, int], scale: float) -> None:
    """Draw the borders of a region.

    Args:
        pixels: The image (height, width, 3), RGB; drawn into.
        region: In pixels of the patch.
        colour: RGB.
        scale: Pixels of the image per pixel of the patch.
    """
    # OpenCV has pixel centres at whole numbers, outlines have corners there: hence the half.
    rings = [shapely.get_coordinates(ring) * scale - 0.5 for ring in shapely.get_rings(shapely.get_parts(region))]
    fixed = [np.round(ring * 2**SUBPIXEL_BITS).astype(np.int32) for ring in rings]
    cv2.polylines(pixels, fixed, True, colour, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _row_of(checked: CheckedPart) -> Rgb:
    """Return a row of the sheet: patches side by side, each with a caption."""
    content, _ = read_part(checked.part)
    patches = chosen_patches(checked, COLUMNS)
    annotations: dict[int, list[CocoAnnotation]] = {patch.image_id: [] for patch in patches}
    for annotation in content.coco.annotations if content else []:
        if annotation.image and annotation.image.id in annotations:
            annotations[annotation.image.id].append(annotation)
    row = np.full((CAPTION_PX + SIDE_PX + GAP_PX, COLUMNS * (SIDE_PX + GAP_PX), 3), 255, np.uint8)
    for column, patch in enumerate(patches):
        cell = row[:, column * (SIDE_PX + GAP_PX) :][:, :SIDE_PX]
        of_patch = annotations[patch.image_id]
        caption = f'{checked.part.name}  {patch.well}  ({patch.x:g}, {patch.y:g})  {len(of_patch)} annotated'
        cv2.putText(cell, caption, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, OTHER_COLOUR, 1, cv2.LINE_AA)
        try:
            pixels, scale = _thumbnail(checked.part.image_dir / patch.file_name)
        except InputError:
            continue
        for annotation in of_patch:
            region = examine(annotation.entry, patch).region
            if region is not None:
                colour = COLOURS.get(annotation.category, OTHER_COLOUR)
                draw_region(pixels, region, IGNORED_COLOUR if annotation.ignored else colour, scale)
        cell[CAPTION_PX : CAPTION_PX + pixels.shape[0], : pixels.shape[1]] = pixels
    return row


def _thumbnail(path: Path) -> tuple[Rgb, float]:
    """Return a patch of which the longer side is `SIDE_PX`, and its scale."""
    with open_slide(path) as slide:
        scale = SIDE_PX / max(slide.width_px, slide.height_px)
        pixels = slide.read(0, 0, slide.width_px, slide.height_px)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), scale
