"""Data sets: COCO and COCO-WholeBody files in folders or zips, augmentation, and a check before a long run."""
