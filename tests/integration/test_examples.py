"""The examples run as they stand, and do what the documentation says of them."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "three_nodes.py"


def test_three_nodes_elect_replicate_and_elect_again() -> None:
    ran = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "one leads, and has {'colour': 'blue'}",
        "another leads, and has {'colour': 'blue'}",
    ]


def test_the_page_about_the_class_shows_lines_of_the_example() -> None:
    shown = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "library.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    assert all(part in EXAMPLE.read_text() for part in shown)
