"""Loss terms as plain functions."""
