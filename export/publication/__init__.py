"""A network -> calibrated, compared, through the gates, and a new version in the model repository."""
