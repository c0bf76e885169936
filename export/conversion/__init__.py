"""A network -> calibrated, converted, verified, published, and built for a GPU."""
