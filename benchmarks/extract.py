"""Compares the speed of cutting a well into patches with decoding and encoding alone, and with Pillow.

The same well is cut into the same patches on one core in three ways, in turn: by this project; by the bound, which only
decodes every tile of the well once and encodes every patch from memory; and, as the published script does, by Pillow:
the whole image in memory, `crop` and `save`. Medians over the rounds are printed.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import median_ratio, run_in_turn, table

from noise_mm.errors import InputError, run_command

OURS = 'this project'

EPILOG = """\
example (about a minute):
  python benchmarks/extract.py --size 6000 --rounds 5
"""


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--size', type=int, default=6000, metavar='PX', help='side of the well (%(default)s)')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='runs of each way (%(default)s)')
    parser.add_argument('--compression', choices=['jpeg', 'deflate', 'none'], default='jpeg', help='(%(default)s)')
    parser.add_argument('--tile', type=int, default=512, metavar='PX', help='side of a tile; 0: strips (%(default)s)')
    arguments = parser.parse_args()
    if arguments.size < 832 or arguments.rounds < 1:
        raise InputError('--size must be at least 832 and --rounds at least 1.')
    if arguments.tile < 0 or arguments.tile % 16:
        raise InputError('--tile must be a multiple of 16, or 0 for strips.')
    return arguments


def make_well(path: Path, side_px: int, tile_px: int, compression: str) -> None:
    """Write a well with blots, texture and camera noise, which compresses about as a stained culture does."""
    import cv2
    import numpy as np
    import tifffile

    rng = np.random.default_rng(0)
    blots = cv2.resize(rng.random((side_px // 60, side_px // 60), np.float32), (side_px, side_px))[..., None]
    fine = cv2.resize(rng.random((side_px // 4, side_px // 4), np.float32), (side_px, side_px))[..., None]
    well = np.array([215, 210, 212]) - blots * np.array([60, 110, 50]) - 20 * fine
    well += rng.normal(0, 2, (side_px, side_px, 1))
    options = {'tile': (tile_px, tile_px)} if tile_px else {'rowsperstrip': 16}
    if compression != 'none':
        options |= {'compression': compression}
    tifffile.imwrite(path, well.clip(0, 255).astype(np.uint8), photometric='rgb', **options)


def ways(well: Path) -> tuple[dict[str, Callable[[Path], None]], int]:
    """Return what is timed, by name, as functions of the folder to write to; and the number of patches."""
    from PIL import Image

    from noise_mm.geometry.tiles import window_grid
    from noise_mm.patches.cutting import Block, cut_block, group_windows
    from noise_mm.patches.layout import PatchSettings
    from noise_mm.patches.png_writer import png_bytes
    from noise_mm.slides.slide import open_slide

    settings = PatchSettings()
    side_px = settings.patch_px
    with open_slide(well) as slide:
        windows = window_grid(slide.width_px, slide.height_px, side_px, settings.stride_px)
        groups = group_windows(slide, 1.0, windows)
        cut = list(slide.windows(windows))

    def files(out: Path, group: list) -> tuple[Path, ...]:
        return tuple(out / f'{window.y}_{window.x}.png' for window in group)

    def ours(out: Path) -> None:
        for group in groups:
            cut_block(Block('well', well, 1.0, side_px, tuple(group), files(out, group)))

    def bound(_: Path) -> None:
        with open_slide(well) as slide:
            for row in range(-(-slide.height_px // slide.chunk_height_px)):
                for column in range(-(-slide.width_px // slide.chunk_width_px)):
                    slide.decode_chunk(row, column)
        for pixels in cut:
            png_bytes(pixels)

    def pillow(out: Path) -> None:
        Image.MAX_IMAGE_PIXELS = None
        image = Image.open(well)
        for window, file in zip(windows, files(out, windows), strict=True):
            image.crop((window.x, window.y, window.x + side_px, window.y + side_px)).save(file)

    return {OURS: ours, 'decoding and encoding alone': bound, 'Pillow, whole image': pillow}, len(windows)


def main() -> None:
    """Make a well, time each way in turn, and print medians."""
    arguments = parse_arguments()
    import cv2

    from noise_mm.patches.layout import PatchSettings

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        well = Path(folder) / 'well.tif'
        make_well(well, arguments.size, arguments.tile, arguments.compression)
        timed, patches = ways(well)
        runs = run_in_turn({name: partial(in_new_folder, way, folder) for name, way in timed.items()}, arguments.rounds)
    megapixels = patches * PatchSettings().patch_px ** 2 / 1e6
    seconds = {name: [run.took.wall_s for run in each] for name, each in runs.items()}
    print(f'{arguments.size} px well, {arguments.compression}, {patches} patches, median of {arguments.rounds} rounds')
    rows = [
        [name, statistics.median(each), megapixels / statistics.median(each), median_ratio(seconds[OURS], each)]
        for name, each in seconds.items()
    ]
    print(table(['', 's', 'MPx/s of patches', f'speed, {OURS} = 1'], rows))


def in_new_folder(way: Callable[[Path], None], parent: str) -> None:
    """Run a way in a folder of its own: replacing files that exist makes some file systems write through."""
    with tempfile.TemporaryDirectory(dir=parent) as out:
        way(Path(out))


if __name__ == '__main__':
    run_command(main)
