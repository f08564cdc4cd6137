"""Small clips and folders of images, made by ffmpeg and Pillow, for the tests of videos."""

import subprocess

import imageio_ffmpeg
import numpy as np
from PIL import Image

TEST_CARD = "testsrc=size=64x48:rate=10"
FRAMES_20 = ("-f", "lavfi", "-i", TEST_CARD, "-frames:v", "20")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "5")


def ffmpeg(path, *options):
    """Run ffmpeg with these options, writing `path`, which is returned."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-nostdin", "-v", "error", "-y", *map(str, options), f"file:{path}"]
    subprocess.run(command, check=True, timeout=60)
    return path


def make_clips(folder):
    """The test card, 20 frames of 64x48, in several containers."""
    for name in ("clip.mp4", "clip.mov", "clip.mkv"):
        ffmpeg(folder / name, *FRAMES_20, *H264)
    ffmpeg(folder / "fast.mp4", *FRAMES_20, *H264, "-movflags", "+faststart")
    ffmpeg(folder / "clip.avi", *FRAMES_20, "-c:v", "mpeg4", "-g", "5")
    return folder


def make_folder(folder, names, frames=None):
    """A folder of images, without `frames` flat ones of 20x16 whose value is their number."""
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        frame = np.full((16, 20, 3), index, np.uint8) if frames is None else frames[index]
        Image.fromarray(frame).save(folder / name)
    return folder
