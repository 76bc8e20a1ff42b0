"""Times our NMS against a plain greedy one and, where it can be imported, torchvision's."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import InputError, run_command

if TYPE_CHECKING:
    import numpy as np
    import torch

EXAMPLE = """example:
  python tools/benchmark_nms.py --boxes 300 3000 --repeats 9
"""
# Layouts of the boxes: side of the square that their corners lie in, in units of the largest box side.
LAYOUTS = {'crowded': 10, 'apart': 10_000}
IOU_THRESHOLD = 0.7


def parse_args() -> argparse.Namespace:
    """Reads and checks the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--boxes', type=int, nargs='+', default=[300, 3000, 30000], metavar='N')
    parser.add_argument('--repeats', type=int, default=3, metavar='N', help='timings of each; their median is shown')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:0 (default: cpu)')
    args = parser.parse_args()
    if min(*args.boxes, args.repeats) < 1:
        raise InputError('--boxes and --repeats must be at least 1. Give larger numbers.')
    return args


def greedy_in_numpy(boxes: 'np.ndarray', scores: 'np.ndarray', iou_threshold: float) -> 'np.ndarray':
    """The plain greedy loop: takes the best box left and removes what it overlaps, one box at a time."""
    import numpy as np

    low, high = boxes[:, :2], boxes[:, 2:]
    area = (high - low).prod(1)
    left = np.argsort(-scores, kind='stable')
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        size = np.clip(np.minimum(high[best], high[left]) - np.maximum(low[best], low[left]), 0, None)
        overlap = size.prod(1)
        left = left[overlap / (area[best] + area[left] - overlap) <= np.float32(iou_threshold)]
    return np.array(kept)


def make_boxes(count: int, layout: str) -> tuple['torch.Tensor', 'torch.Tensor']:
    """Boxes of random place, size and score: (count, 4) and (count,) float32 on the CPU."""
    import torch

    random = torch.Generator().manual_seed(count)
    size = torch.rand(count, 2, generator=random) + 0.01
    corner = torch.rand(count, 2, generator=random) * LAYOUTS[layout]
    return torch.cat([corner, corner + size], 1), torch.rand(count, generator=random)


def competitors(boxes: 'torch.Tensor', scores: 'torch.Tensor', device: str) -> dict[str, Callable[[], int]]:
    """Name -> function without arguments that runs one NMS to its end and returns the number of boxes it keeps."""
    import torch

    from noise_mm.compat.nms import nms_in_torch, working_torchvision_kernel

    kernel = working_torchvision_kernel(torch.device(device).type)
    on_device = boxes.to(device), scores.to(device)
    in_numpy = boxes.numpy(), scores.numpy()
    # Copying the result to the CPU waits for the device.
    found = {
        'ours': lambda: len(nms_in_torch(*on_device, IOU_THRESHOLD).cpu()),
        'numpy': lambda: len(greedy_in_numpy(*in_numpy, IOU_THRESHOLD)),
    }
    if kernel is not None:
        found['torchvision'] = lambda: len(kernel(*on_device, IOU_THRESHOLD).cpu())
    return found


def time_alternating(functions: dict[str, Callable[[], int]], repeats: int) -> tuple[dict[str, float], int]:
    """Median seconds of each function by its name, and the number of boxes that all of them keep.

    The functions take turns, so that a busy machine slows all of them alike.
    """
    seconds = {name: [] for name in functions}
    kept = {function() for function in functions.values()}  # also the warm-up
    if len(kept) != 1:
        raise RuntimeError(f'the implementations keep different numbers of boxes: {sorted(kept)}')
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}, kept.pop()


def peak_extra_mib(function: Callable[[], int], device: str) -> float | None:
    """Peak memory that a call takes beyond what is in use before it, in MiB; None where it can't be seen.

    On a CUDA device, of that device. On the CPU the peak of the process, which Linux alone lets us reset.
    """
    if device != 'cpu':
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    reset, status = Path('/proc/self/clear_refs'), Path('/proc/self/status')
    try:
        reset.write_text('5')
        before = _status_mib(status, 'VmRSS')
    except OSError:
        return None
    function()
    return max(0.0, _status_mib(status, 'VmHWM') - before)


def _status_mib(status: Path, key: str) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Prints a table: a row for each number of boxes and layout."""
    args = parse_args()
    import torch

    if args.device != 'cpu' and not torch.cuda.is_available():
        raise InputError(f'--device {args.device}: no CUDA device here. Use --device cpu.')
    print(f'torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads, IoU threshold {IOU_THRESHOLD}')
    print('  boxes   layout   kept   ours ms  numpy/ours  torchvision/ours  peak MiB')
    for count in args.boxes:
        for layout in LAYOUTS:
            functions = competitors(*make_boxes(count, layout), args.device)
            seconds, kept = time_alternating(functions, args.repeats)
            ratios = {name: f'{value / seconds["ours"]:.2f}' for name, value in seconds.items()}
            peak = peak_extra_mib(functions['ours'], args.device)
            print(
                f'{count:7} {layout:>8} {kept:6} {seconds["ours"] * 1e3:9.2f} {ratios["numpy"]:>11} '
                f'{ratios.get("torchvision", "-"):>17} {"-" if peak is None else f"{peak:.0f}":>9}',
                flush=True,
            )


if __name__ == '__main__':
    run_command(main)
