"""A network -> the graphs that are served, verified, and built into an engine for a GPU."""
