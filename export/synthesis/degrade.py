"""A photograph -> what arrives of it: scaling, light, noise, paper, video and compression lie on its way.

Every draw depends on the random generator alone, never on the content. Two pictures of one size go through exactly the
same under two generators of one state, noise included. That is how twins stay twins.
"""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

CLEAN_QUALITY = 97  # JPEG quality that leaves the traces of a forgery alone
SMALLEST_FACE_PX = 48
FINEST_SCREEN_PX, COARSEST_SCREEN_PX = 2.0, 4.5  # period of a printer's dots as a scanner sees them
NOISE = np.random.default_rng(0).standard_normal(1 << 20, np.float32)  # cut at random places: drawing costs 8 ms a face

Drawn = tuple[Image.Image, np.ndarray]


def degrade(picture: Image.Image, box: np.ndarray, rng: np.random.Generator) -> Drawn:
    """The picture after a random journey, and the face's box in it, (4,) x0, y0, x1, y1 in pixels."""
    if rng.random() < 0.2:  # it has been compressed before
        picture = jpeg_round_trip(picture, int(rng.integers(50, 96)))
    picture, box = scale(picture, box, rng)
    if rng.random() < 0.5:
        picture = relight(picture, rng)
    draw = rng.random()
    if draw < 0.08:
        return print_and_scan(picture, box, rng)
    if draw < 0.16:
        return video(picture, int(rng.integers(20, 38))), box
    return soften_or_sharpen(picture, rng), box


def video_call(picture: Image.Image, box: np.ndarray, rng: np.random.Generator) -> Drawn:
    """A frame of a video call, and the face's box in it: perhaps smaller, perhaps enlarged again, noise, H.264."""
    picture, box = scale(picture, box, rng)
    if rng.random() < 0.4:  # calls send fewer pixels when the line is busy
        factor = rng.uniform(1.2, 2.0)
        size = (round(picture.width * factor), round(picture.height * factor))
        picture, box = _resized(picture, box, size, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        picture = _noisy(picture, rng.uniform(1, 4), rng)
    return video(picture, int(rng.integers(18, 34))), box


def encode(picture: Image.Image, rng: np.random.Generator) -> bytes:
    """The file that arrives: WebP, a good JPEG, or any JPEG."""
    draw = rng.random()
    if draw < 0.15:
        return save(picture, "WEBP", quality=int(rng.integers(40, 96)), method=0)
    return save(picture, "JPEG", quality=CLEAN_QUALITY if draw < 0.4 else int(rng.integers(40, 97)))


def save(picture: Image.Image, kind: str, **options: int) -> bytes:
    """The picture as the bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_round_trip(picture: Image.Image, quality: int) -> Image.Image:
    """Compressed once and decoded."""
    with Image.open(io.BytesIO(save(picture, "JPEG", quality=quality))) as decoded:
        return decoded.convert("RGB")


def scale(picture: Image.Image, box: np.ndarray, rng: np.random.Generator) -> Drawn:
    """Smaller by up to a factor of three, as thumbnails and chat services do; faces stay above 48 px."""
    side = (box[2:] - box[:2]).max()
    if rng.random() < 0.4 or side < SMALLEST_FACE_PX * 1.25:
        return picture, box
    factor = float(np.exp(rng.uniform(np.log(max(SMALLEST_FACE_PX / side, 1 / 3)), 0)))
    size = (max(32, round(picture.width * factor)), max(32, round(picture.height * factor)))
    kind = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)[rng.integers(3)]
    return _resized(picture, box, size, kind)


def _resized(picture: Image.Image, box: np.ndarray, size: tuple[int, int], kind: Image.Resampling) -> Drawn:
    return picture.resize(size, kind), box * np.tile(np.array(size) / picture.size, 2)


def relight(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Gamma, brightness, contrast, saturation and a slight cast."""
    gamma, contrast = np.exp(rng.uniform(-0.3, 0.3)), rng.uniform(0.75, 1.25)
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, (3, 1))
    values = ((np.arange(256) / 255) ** gamma * gain - 0.5) * contrast + 0.5  # (3, 256)
    picture = picture.point(np.clip(np.rint(values * 255), 0, 255).astype(int).ravel().tolist())
    return ImageEnhance.Color(picture).enhance(rng.uniform(0.7, 1.3))


def soften_or_sharpen(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Out of focus, oversharpened, noisy, or as it is."""
    draw = rng.random()
    if draw < 0.25:
        return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.5)))
    if draw < 0.35:
        sharpen = ImageFilter.UnsharpMask(rng.uniform(0.8, 2.0), percent=int(rng.integers(40, 150)), threshold=0)
        return picture.filter(sharpen)
    if draw < 0.6:
        return _noisy(picture, rng.uniform(2, 20), rng)
    return picture


def video(picture: Image.Image, crf: int) -> Image.Image:
    """One frame through H.264: CRF 18 is good, 38 is a bad call. Sides are cut to even numbers and padded again."""
    even = picture.crop((0, 0, picture.width + picture.width % 2, picture.height + picture.height % 2))
    if even.size != picture.size:  # the added row or column repeats the last one
        even.paste(picture.crop((picture.width - 1, 0, picture.width, picture.height)), (even.width - 1, 0))
        even.paste(even.crop((0, picture.height - 1, even.width, picture.height)), (0, even.height - 1))
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.width, even.height, "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"}
    packets = [*encoder.encode(av.VideoFrame.from_image(even)), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return frames[0].to_image().crop((0, 0, *picture.size))


def print_and_scan(picture: Image.Image, box: np.ndarray, rng: np.random.Generator) -> Drawn:
    """A photograph in an identity document: printed in dots on tinted paper, laid down slightly askew and scanned."""
    picture, box = _askew(picture, box, rng)
    angle, turn = rng.uniform(0, np.pi / 2), 2 * np.pi / rng.uniform(FINEST_SCREEN_PX, COARSEST_SCREEN_PX)
    x, y = (np.arange(side, dtype=np.float32) * np.float32(turn) for side in picture.size)
    across = x * np.float32(np.cos(angle)) + (y * np.float32(np.sin(angle)))[:, None]  # (H, W) radians
    along = (y * np.float32(np.cos(angle)))[:, None] - x * np.float32(np.sin(angle))
    screen = (np.sin(across) * np.sin(along))[..., None] * np.float32(rng.uniform(0.05, 0.35))
    ink = np.asarray(picture, np.float32) / 255
    ink += screen * ink * (1 - ink)  # dots show most in the middle tones
    white = (rng.uniform(0.86, 0.98) * rng.uniform((1, 0.97, 0.88), 1)).astype(np.float32)  # paper yellows
    black = np.float32(rng.uniform(0.03, 0.14))
    moire = np.sin(across * np.float32(rng.uniform(0.01, 0.06)))[..., None] * np.float32(rng.uniform(0, 0.06))
    scanned = _from_float(255 * (black + (white - black) * ink) * (1 + moire))
    scanned = scanned.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.1)))  # ink spreads, the scanner's lens too
    return _noisy(scanned, rng.uniform(1, 4), rng), box


def _askew(picture: Image.Image, box: np.ndarray, rng: np.random.Generator) -> Drawn:
    """Seen with its corners up to 2.5 % inside themselves: a slight perspective without empty edges."""
    size = np.array(picture.size, float)
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    seen = corners + np.where(corners == 0, 1, -1) * rng.uniform(0, 0.025, (4, 2))
    matrix = _homography(corners * size, seen * size)
    askew = picture.transform(
        picture.size,
        Image.Transform.PERSPECTIVE,
        (matrix / matrix[2, 2]).ravel()[:8].tolist(),
        Image.Resampling.BICUBIC,
    )
    corner = np.array([box[[0, 1]], box[[2, 1]], box[[2, 3]], box[[0, 3]]])
    moved = np.concatenate([corner, np.ones((4, 1))], 1) @ np.linalg.inv(matrix).T
    moved = moved[:, :2] / moved[:, 2:]
    return askew, np.concatenate([moved.min(0), moved.max(0)])


def _homography(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(3, 3) matrix that leads four points (4, 2) to four others."""
    rows = []
    for (x, y), (u, v) in zip(start, end, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
    return np.append(np.linalg.solve(np.array(rows), end.ravel()), 1).reshape(3, 3)


def _noisy(picture: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    """Gaussian noise added; the standard deviation is in grey levels of 255."""
    noise = np.resize(NOISE[int(rng.integers(len(NOISE) // 2)) :], (picture.height, picture.width, 3))
    return _from_float(np.asarray(picture, np.float32) + noise * np.float32(deviation))


def _from_float(pixels: np.ndarray) -> Image.Image:
    """(H, W, 3) float 0..255 to a picture."""
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
