"""From files to faces: real photographs and videos, broken ones, an interruption, pictures that splits share."""

from __future__ import annotations

import csv
import io
import json
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from export.data import face_search
from export.data.faces import DataConfig, collect, find_faces, table
from export.data.sources import ManifestError
from export.data.videos import VideoError, frames
from export.synthesis.batches import Loader

SIDE_PX = 256
QUARTER_TURN = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, SIDE_PX << 16, 0, 1 << 30)  # as telephones write it


def write_video(path: Path, pictures: list[Image.Image], codec: str = "libx264", **options: str) -> Path:
    """Each picture for one frame."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *pictures[0].size, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return path


def gray(level: int) -> Image.Image:
    return Image.new("RGB", (64, 64), (level, level, level))


def levels(found) -> list[tuple[int, int]]:
    """(number, gray level) of each frame."""
    return [(number, round(np.asarray(Image.open(io.BytesIO(data))).mean() / 8)) for number, data in found]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.mkv", "libx264")],
    ids=["mp4", "webm-without-a-count", "avi", "mkv"],
)
def test_frames_are_evenly_spaced(tmp_path, name, codec):
    path = write_video(tmp_path / name, [gray(8 * i) for i in range(30)], codec)
    assert levels(frames(path, 5)) == [(i, i) for i in (3, 9, 15, 21, 27)]
    assert [number for number, _ in frames(path, 99)] == list(range(30))


def test_frames_come_upright_and_lossless(tmp_path):
    halves = Image.new("RGB", (SIDE_PX, 128), (200, 30, 30))
    halves.paste((30, 30, 200), (128, 0, 256, 128))
    path = write_video(tmp_path / "a.mp4", [halves])
    data = path.read_bytes()
    matrix = data.index(b"tkhd") + 4 + 40  # ISO 14496-12, version 0
    path.write_bytes(data[:matrix] + QUARTER_TURN + data[matrix + 36 :])
    ((_, png),) = frames(path, 3)
    upright = Image.open(io.BytesIO(png))
    assert (upright.format, upright.size) == ("PNG", (128, SIDE_PX))
    assert np.argmax(upright.getpixel((64, 20))) == 0, "what was left is on top"


def test_a_video_that_ends_early_names_the_frames_it_lacks(tmp_path):
    noise = np.random.default_rng(0)
    pictures = [Image.fromarray(noise.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(20)]
    path = write_video(tmp_path / "a.mp4", pictures, movflags="+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = list(frames(path, 5))
    assert [number for number, _ in found] == [2, 6, 10, 14, 18]
    assert isinstance(found[0][1], bytes)
    assert isinstance(found[-1][1], VideoError)


@pytest.mark.parametrize("data", [b"", b"no video" * 99], ids=["empty", "garbage"])
def test_what_is_no_video_says_so(tmp_path, data):
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(VideoError, match="cannot be opened"):
        list(frames(tmp_path / "a.mp4", 2))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, portrait) -> Path:
    """real/ and fake/ with a JPEG, PNG and WebP, a video of a face that leaves, broken files; one split."""
    folder = tmp_path_factory.mktemp("mixed")
    head = portrait.crop((110, 0, 110 + SIDE_PX, SIDE_PX))
    (folder / "real" / "cam").mkdir(parents=True)
    (folder / "fake").mkdir()
    for name in ("a.jpg", "b.png", "c.webp"):
        head.save(folder / "real" / "cam" / name)
    write_video(folder / "fake" / "clip.mp4", [head] * 6 + [Image.new("RGB", head.size)] * 2)
    (folder / "real" / "cam" / "cut.jpg").write_bytes((folder / "real" / "cam" / "a.jpg").read_bytes()[:5000])
    (folder / "real" / "notes.txt").write_text("no picture")
    (folder / "fake" / "broken.mp4").write_bytes(b"nothing")
    rows = [(path.relative_to(folder).as_posix(), path.parts[len(folder.parts)]) for path in folder.rglob("*.*")]
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *((*row, "train") for row in sorted(rows))])
    return folder


@pytest.fixture(scope="module")
def run_folder(mixed, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run")
    find_faces(mixed, out, DataConfig(frames_per_video=4))
    return out


def test_photographs_and_videos_become_faces_and_the_rest_is_listed(mixed, run_folder):
    collection = collect(mixed, run_folder)
    assert collection.config.frames_per_video == 4, "as the run was begun"
    faces = collection.faces
    assert [Path(face.path).name for face in faces if not face.video] == ["a.jpg", "b.png", "c.webp"]
    clip = [face for face in faces if face.video]
    assert [(face.video, face.group, face.label) for face in clip] == [("fake/clip.mp4", "fake/clip.mp4", 1)] * 3
    assert [Path(face.path).name for face in clip] == ["000001.png", "000003.png", "000005.png"]
    with (run_folder / "rejected.csv").open(newline="") as file:
        rejected = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert set(rejected) == {"real/cam/cut.jpg", "real/notes.txt", "fake/broken.mp4", "fake/clip.mp4 frame 7"}
    assert rejected["fake/clip.mp4 frame 7"] == "no face"
    assert "truncated" in rejected["real/cam/cut.jpg"]
    total = table(collection).splitlines()[-1].split()
    assert total == ["all", "6", "1", "4", "0"]


def test_a_frame_is_read_as_a_photograph_is(mixed, run_folder):
    faces = find_faces(mixed, run_folder)
    (batch,) = Loader(mixed, 8, 0).plain(faces)
    assert batch.faces.shape == (6, 224, 224, 3)
    assert abs(batch.faces[0].astype(int) - batch.faces[1]).mean() < 16, "the face of the photograph, from the video"


def test_an_interrupted_search_goes_on_and_searches_nothing_twice(mixed, run_folder, tmp_path, monkeypatch):
    whole = find_faces(mixed, run_folder)
    cache = tmp_path / "faces.jsonl"
    (tmp_path / "data.json").write_bytes((run_folder / "data.json").read_bytes())
    lines = [line for line in (run_folder / "faces.jsonl").read_text().splitlines() if line]
    cache.write_text("\n".join(lines[3:]) + "\n" + lines[2][:40])  # as a kill leaves it, without the frames of the clip
    searched = []
    search = face_search.Search.__call__

    def watched(self, item):
        searched.append(item.path)
        return search(self, item)

    monkeypatch.setattr(face_search.Search, "__call__", watched)
    again = find_faces(mixed, tmp_path)
    assert searched == [json.loads(line)["path"] for line in lines[:3]]
    assert "fake/clip.mp4" in searched
    assert [(f.file, f.box) for f in again] == [(f.file, f.box) for f in whole]
    assert find_faces(mixed, tmp_path) == again
    assert len(searched) == 3


def test_a_file_that_was_mended_is_searched_again(mixed, run_folder, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(b"")
    assert collect(tmp_path, tmp_path / "run").found == []
    (tmp_path / "real" / "a.jpg").write_bytes((mixed / "real" / "cam" / "a.jpg").read_bytes())
    assert len(collect(tmp_path, tmp_path / "run").found) == 1


@pytest.fixture
def shared(tmp_path, portrait) -> Path:
    """The same portrait in train, larger, and in test; another view of it in train."""
    head = portrait.crop((110, 0, 350, 240))
    head.resize((360, 360)).save(tmp_path / "large.jpg", quality=95)
    head.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.jpg")
    head.save(tmp_path / "small.png")
    (tmp_path / "m.csv").write_text(
        "path,label,split\nlarge.jpg,real,train\nmirrored.jpg,real,train\nsmall.png,fake,test\n"
    )
    return tmp_path / "m.csv"


def test_splits_that_share_a_picture_are_refused_or_the_learned_one_is_dropped(shared, tmp_path):
    with pytest.raises(ManifestError, match=r"large.jpg \(train\) and small.png \(test\)(.|\n)*--drop-duplicates"):
        find_faces(shared, tmp_path / "run")
    assert "large.jpg,train,small.png,test" in (tmp_path / "run" / "duplicates.csv").read_text()
    faces = find_faces(shared, tmp_path / "run", DataConfig(drop_duplicates=True))
    assert [face.path for face in faces] == ["mirrored.jpg", "small.png"]
    assert find_faces(shared, tmp_path / "run") == faces, "later stages go by the settings of the run"


def test_the_command_prints_the_table_and_fails_where_splits_share_a_picture(export, shared, tmp_path):
    command = ("data", "--data", shared, "--out", tmp_path / "run")
    refused = export(*command)
    assert refused.code == 1 and "large.jpg (train) and small.png (test)" in refused.err
    told = export(*command, "--drop-duplicates")
    assert told.code == 0
    assert told.out.split()[:7] == ["source", "label", "train", "test", "videos", "rejected", "duplicates"]
    assert "2 faces to go on with" in told.out
