"""Vital signs from what cameras and detectors tell over time."""
