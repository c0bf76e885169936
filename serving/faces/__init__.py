"""The face detector: CenterFace in OpenVINO."""
