"""The classifier: what executes its graph, and what a version of it consists of."""
