"""Take the pictures of the documents: the demo's report, and the card of one of its players.

Run ``python tools/pictures.py DEMO`` on the folder of a finished ``basket demo`` of today's code.
Needs Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import basket

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH_PX = 1280
PLAYER = "19-20/North/140_19_20.mp4"


def take(page: Path, picture: Path, *, height_px: int) -> None:
    """Picture the top of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("chromium is not there; install it")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(  # noqa: S603 - the browser that was found
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={WIDTH_PX},{height_px}",
                f"--screenshot={picture}",
                page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
        )
    # A third of the bytes: these pages have few colours.
    Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)


def main() -> None:
    """Take both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    demo = parser.parse_args().demo
    take(demo / "report.html", IMAGES / "report.png", height_px=1720)
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "card.html"
        reel = demo / "basket" / PLAYER
        basket.predict_videos(demo / "runs/motion-ridge", reel, cache=demo / "cache", report=card)
        take(card, IMAGES / "card.png", height_px=1560)


if __name__ == "__main__":
    main()
