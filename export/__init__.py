"""From faces to a served model: data, training, conversion, evaluation. See docs/export.md."""
