"""Apply the decisions that were saved on the page of a folder of results."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import run_command

EXAMPLE = """
example:
  python tools/apply_review.py results review.json --out results_reviewed
      writes all tables, exports and the page again without the rejected cells; corrected/ holds the osteoclasts of
      each reviewed image for training:
  python data_prep/extract_patches.py --wells plate7 --rois results_reviewed/corrected --skip-bad \\
      --batch M6 --out data/osteoclast
      cells that were missed are added to these files in QuPath before; --skip-bad leaves out the images of plate7 that
      were not reviewed, and names them (exit status 3)
"""


def main() -> None:
    """Read the options and apply the review."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', type=Path, metavar='RESULTS_DIR', help='folder of tools/predict.py')
    parser.add_argument('review', type=Path, metavar='REVIEW', help='review.json, saved on the page of this folder')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder for the corrected results')
    parser.add_argument('--wells', type=Path, metavar='DIR', help='the well images, if they were moved')
    args = parser.parse_args()
    from noise_mm.inference.review import CORRECTED, apply_review

    for sentence in apply_review(args.results, args.review, args.out, args.wells):
        print(sentence)
    print(f'see {args.out / "index.html"}; annotations for training: {args.out / CORRECTED}')


if __name__ == '__main__':
    run_command(main)
