"""Facial Action Units in infrared: unpaired RGB-to-thermal translation and domain adaptation."""

__version__ = "0.1.0"
