"""Runs NVIDIA Triton for Facewarden: finds or unpacks it, starts it for a profile, watches over it, stops it."""
