"""`make demo`: the whole path once, from a photograph to a verdict."""
