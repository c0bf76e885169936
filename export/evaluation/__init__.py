"""A data folder and a running server -> a report that tells an operator whether to deploy."""
