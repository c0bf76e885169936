"""Faces -> a trained, distilled, pruned network."""
