"""What pytest asks of the names of test files."""

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[2]


def test_no_two_files_of_tests_are_called_alike() -> None:
    """Run together, the second of them would not be found."""
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
