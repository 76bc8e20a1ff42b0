"""COCO JSON of this project: batch folders, pseudo-label files and results."""
