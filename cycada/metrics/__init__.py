"""What a detector or a translation is worth, in figures; pure functions of arrays."""
