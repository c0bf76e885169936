"""Every DALI pipeline of Facewarden: the only place where what the classifier sees is decoded, turned and resized.

The DALI backend serialises `preprocess`; the Python backend hosts both; training and evaluation load their
crops through them. Whatever changes here changes what the classifier sees, everywhere at once.
"""

from __future__ import annotations

from typing import Any

from nvidia.dali import fn, pipeline_def, types

FACE_SIDE_PX = 224


def encoded(name: str) -> Any:
    """(L,) uint8 encoded bytes, fed from outside; ragged across the batch."""
    return fn.external_source(name=name, dtype=types.UINT8, ndim=1, device="cpu")


@pipeline_def(batch_size=64, num_threads=4, device_id=0, prefetch_queue_depth=1)
def preprocess(decoder: str = "mixed") -> Any:
    """Encoded image and region -> FACE (224, 224, 3) uint8 RGB.

    ROI is (4,) float32 x0, y0, x1, y1 in fractions of the upright picture; only that region is decoded:
    cheap for a face in a large picture.
    """
    roi = fn.external_source(name="ROI", dtype=types.FLOAT, ndim=1, device="cpu")
    crop = fn.decoders.image_slice(
        encoded("IMAGE"),
        rel_start=roi[0:2],
        rel_end=roi[2:4],
        axis_names="WH",
        device=decoder,
        output_type=types.RGB,
        hw_decoder_load=0.75,  # of a GPU with a hardware JPEG decoder; CUDA takes the rest
    )
    return fn.resize(
        crop, resize_x=FACE_SIDE_PX, resize_y=FACE_SIDE_PX, interp_type=types.INTERP_LINEAR, antialias=True
    )


@pipeline_def(batch_size=8, num_threads=1, device_id=0, prefetch_queue_depth=1)
def detector_input(decoder: str = "mixed") -> Any:
    """Encoded image -> the whole upright picture (h, w, 3) uint8 RGB in the size that the face detector asks for.

    SIZE is (2,) float32 height, width. Not antialiased: CenterFace was trained without, and it would cost
    0.8 ms more for 640x480.
    """
    image = fn.decoders.image(encoded("IMAGE"), device=decoder, output_type=types.RGB, hw_decoder_load=0.75)
    size = fn.external_source(name="SIZE", dtype=types.FLOAT, ndim=1, device="cpu")
    return fn.resize(image, size=size, interp_type=types.INTERP_LINEAR, antialias=False)
