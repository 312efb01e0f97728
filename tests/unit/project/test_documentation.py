"""The documentation says what the code says, and its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_SUFFIX = re.compile(r"_(total|info|seconds)$")  # what the formats of the page add to some names
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_generated_tables_are_up_to_date() -> None:
    checked = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], check=False)
    assert checked.returncode == 0, "run `make docs`, and commit docs/"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_project_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_make_target_that_the_pages_name_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z0-9]+)", page.read_text(), re.MULTILINE)}
    assert named <= targets


def test_the_page_about_http_names_every_path_and_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "http.md").read_text()
    server, metrics = ((ROOT / "src" / "raftq_k8s" / "api" / name).read_text() for name in ("server.py", "metrics.py"))
    paths = set(re.findall(r'"(/[a-z0-9/{}.]+)"', server))
    table = " ".join(line.split("|")[1] for line in page.partition("\n## ")[0].splitlines() if line.startswith("|"))
    assert set(re.findall(r"`(/[^`]+)`", table)) == paths
    names = {_SUFFIX.sub("", name) for name in re.findall(r'"(raftq_[a-z_]+)"', metrics)}
    assert {_SUFFIX.sub("", name) for name in re.findall(r"\braftq_[a-z_]+", page)} == names
