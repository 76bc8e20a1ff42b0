"""The numbers of the NOISe paper's tables, as data.

Source: Manne, Martin et al., "NOISe: Nuclei-Aware Osteoclast Instance Segmentation for Mouse-to-Human Domain
Transfer", CVPR Workshops 2024, Tables 2 and 3. Each row holds precision, recall and mAP at each mask IoU of `IOU_THRS`,
as printed. They come from Ultralytics' code (mode `ultralytics`).
"""

IOU_THRS = (0.1, 0.25, 0.5, 0.75, 0.9)

TABLE_2_PROTOCOL = ('yolov8', 'm2m')  # method and protocol of Table 2

# Table 2: held-out batch -> row, in the order of the paper's folds 1 to 5.
TABLE_2_FOLDS = {
    'M1': '0.871 0.838 0.906  0.868 0.835 0.902  0.869 0.809 0.885  0.816 0.714 0.784  0.609 0.434 0.437',
    'M5': '0.884 0.524 0.639  0.882 0.518 0.630  0.851 0.487 0.583  0.555 0.297 0.299  0.063 0.023 0.010',
    'M4': '0.894 0.850 0.911  0.892 0.845 0.906  0.884 0.818 0.881  0.831 0.722 0.779  0.569 0.436 0.407',
    'M3': '0.862 0.826 0.888  0.858 0.820 0.882  0.851 0.787 0.851  0.805 0.677 0.735  0.537 0.392 0.353',
    'M2': '0.908 0.849 0.921  0.907 0.845 0.917  0.896 0.825 0.898  0.852 0.736 0.812  0.654 0.494 0.512',
}
TABLE_2_AVERAGE = '0.884 0.777 0.853  0.881 0.773 0.847  0.870 0.745 0.820  0.772 0.629 0.682  0.486 0.356 0.344'
TABLE_2_DEVIATION = '0.018 0.142 0.120  0.019 0.143 0.122  0.020 0.145 0.133  0.122 0.187 0.216  0.241 0.190 0.195'

# Table 3: method and protocol -> row; both folds of h2h averaged.
TABLE_3 = {
    ('yolov8', 'm2h'): '0.839 0.605 0.777  0.826 0.595 0.755  0.695 0.666 0.595  0.425 0.309 0.285  0.084 0.098 0.046',
    ('noise', 'm2h'): '0.868 0.783 0.878  0.861 0.775 0.865  0.812 0.729 0.796  0.677 0.586 0.592  0.324 0.233 0.151',
    ('yolov8', 'h2h'): '0.849 0.826 0.884  0.843 0.816 0.872  0.799 0.766 0.805  0.702 0.609 0.626  0.506 0.339 0.296',
    ('noise', 'h2h'): '0.860 0.810 0.891  0.857 0.800 0.880  0.807 0.757 0.820  0.722 0.613 0.650  0.478 0.320 0.265',
}

# The same for all protocols of which the paper has an average.
CONFIGURATIONS = {TABLE_2_PROTOCOL: TABLE_2_AVERAGE, **TABLE_3}


def values_of(row: str) -> dict[float, tuple[str, str, str]]:
    """Return precision, recall and mAP of a row by IoU threshold, as printed."""
    cells = row.split()
    return {thr: tuple(cells[3 * k : 3 * k + 3]) for k, thr in enumerate(IOU_THRS)}
