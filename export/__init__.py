"""From faces to a served model. docs/export.md tells it from the beginning."""
