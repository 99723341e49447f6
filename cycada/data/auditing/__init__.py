"""What would spoil a training, found in a dataset before any time is spent on it.

Each module looks for one kind of fault and returns findings; :mod:`cycada.stages.auditing` asks
all of them.
"""
