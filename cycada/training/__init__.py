"""The two trainings, their state, and what a run leaves on disk."""
