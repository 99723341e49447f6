"""Readers of label files, one layout each; ``cycada.data.labels`` chooses among them.

Each module has ``recognise``, which returns why a file seems to have its layout, and ``read``. Its
docstring tells the layout, and parts what is documented from what is assumed.
"""
