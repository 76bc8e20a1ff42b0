"""Weak labels: a detector of nuclei labels the osteoclast patches, for stage 2 to be trained on both (paper, 3.2)."""
