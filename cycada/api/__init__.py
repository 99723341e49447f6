"""The Python API: trained networks to translate and to detect with, and to share."""
