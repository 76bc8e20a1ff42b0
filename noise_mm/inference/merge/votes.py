"""What the tiles that should have seen a cell say of it: a cell that most of them deny is a false one. Pure.

Every tile has a chance to be wrong. Were a cell counted as soon as one tile shows it, wells would have the more false
cells the more tiles show each place, and a score threshold would mean another thing at another stride. So the tiles
that look at a place vote. A tile looks if it shows at least half of the cell's box away from its inner borders; those
that show the cell count in any case. With a single tile there is nobody to ask, and the cell is kept as it is.
"""

from typing import NamedTuple

from noise_mm.inference.merge.fragments import Cell
from noise_mm.inference.merge.merge_graph import MergeGraph

DOUBT = 1.5
"""How much an unconfirmed cell is doubted: the power of the share of tiles that show it, see `Vote.factor`.

At 1.5 a cell that one of two tiles shows has to have a score of 0.71 to be counted at the usual threshold of 0.25, and
one that one of three or more tiles shows is not. Of two equally good tiles that disagree one has missed a cell or the
other one has made it up. Along the image's edges, where two tiles show each place, counting all such cells makes too
many, counting none too few, and counting those of high score about as many as there are."""


class Vote(NamedTuple):
    """A vote of tiles on a cell.

    Attributes:
        seen: Number of tiles that show it.
        looked: Number of tiles that show it or should have shown it.
    """

    seen: int
    looked: int

    @property
    def factor(self) -> float:
        """Return what the score is multiplied by: 1 if at least half of the tiles show the cell, but not one of two."""
        if 2 * self.seen >= self.looked and (self.seen, self.looked) != (1, 2):
            return 1.0
        return (self.seen / self.looked) ** DOUBT


def vote_on(cell: Cell, graph: MergeGraph) -> Vote:
    """Count the tiles that show a cell and those that should have."""
    seen = {graph.detections[key].core for key in (*cell.detections, *cell.fragments)}
    return Vote(len(seen), len(seen | graph.tiles_showing(cell.found.box)))
