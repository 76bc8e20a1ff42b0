"""Wells and annotations of a batch -> a batch folder of patches for training."""
