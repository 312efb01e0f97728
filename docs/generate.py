"""Writes the table of settings in configuration.md anew, from the struct that the agent itself reads its settings by.

`generate.py --check` changes nothing and ends with exit code 1 when the file is not up to date.
"""

import sys
from pathlib import Path

from raftq_k8s.agent.settings import CHAPTERS
from raftq_k8s.agent.sources import Explained, explained

PAGE = Path(__file__).with_name("configuration.md")
BEGIN = "<!-- settings: begin -->\n"
END = "<!-- settings: end -->"


def table() -> str:
    settings = explained()
    lines: list[str] = []
    for title, keys in CHAPTERS.items():
        lines += [f"### {title}", "| setting | default | meaning |", "| --- | --- | --- |"]
        lines += [_row(settings[key]) for key in keys]
        lines.append("")
    return "\n".join(lines) + "\n"


def _row(setting: Explained) -> str:
    default = "" if setting.default in ("", None) else f"`{setting.default}`"
    choices = f" ({', '.join(f'`{choice}`' for choice in setting.choices)})" if len(setting.choices) > 1 else ""
    meaning = setting.description.replace("|", "\\|")
    return f"| `{setting.key}` | {default} | {meaning}{choices} |"


def renewed(page: str) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE.name}: the marks of the table are missing")
    return before + begin + table() + end + after


def main() -> int:
    page = PAGE.read_text()
    if "--check" in sys.argv[1:]:
        return int(renewed(page) != page)
    PAGE.write_text(renewed(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
