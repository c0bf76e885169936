"""Photographs and videos -> the faces to learn from, found and cropped as in serving."""
