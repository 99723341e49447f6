// sets
