"""One module per verb: assemble the parts, then call them."""
