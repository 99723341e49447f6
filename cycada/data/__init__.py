"""Datasets: the index on disk, its images as tensors, their order, and phantom faces."""
