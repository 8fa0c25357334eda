"""Draw ``docs/demo.svg``, the picture in the README: what ``anybpf demo`` prints, in a terminal's colours.

Run from the project's root with its own Python: ``.venv/bin/python docs/picture.py``
"""

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 118

shown = subprocess.run(
    [sys.executable, "-m", "anybpf", "demo"],
    env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)},
    stdout=subprocess.PIPE,
    check=True,
    text=True,
    encoding="utf-8",
).stdout.replace(str(Path(__file__).resolve().parent.parent) + os.sep, "")
console = Console(record=True, width=WIDTH, file=io.StringIO())
console.print(Text.from_ansi(shown))
console.save_svg(str(Path(__file__).with_name("demo.svg")), title="anybpf demo")
