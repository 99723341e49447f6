"""Networks; each joins parts that it is given."""
