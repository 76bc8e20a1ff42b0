"""Which wells each of several processes predicts.

Every process works through whole wells of its own and updates the summary of the folder after each of them, so the
processes need not talk to each other and none waits for another. If one is killed, its launcher reports it; the wells
of the others are complete, and `--resume` predicts the missing ones.
"""

from collections.abc import Sequence
from pathlib import Path

from noise_mm.distributed import Ranks


def partition(images: Sequence[Path], ranks: Ranks) -> list[Path]:
    """Return the images of this process, in the order given.

    Large files are dealt out first, each to the process with the fewest bytes so far. The result depends on the files
    only, so all processes agree on it without talking to each other.
    """
    if ranks.count == 1:
        return list(images)
    sizes = [image.stat().st_size if image.exists() else 0 for image in images]
    loads = [0] * ranks.count
    mine = set()
    for index in sorted(range(len(images)), key=lambda index: (-sizes[index], index)):
        rank = loads.index(min(loads))
        loads[rank] += max(sizes[index], 1)
        if rank == ranks.rank:
            mine.add(index)
    return [image for index, image in enumerate(images) if index in mine]
