"""Encoded pictures: checked before they are batched, cropped around a face, decoded by DALI."""
