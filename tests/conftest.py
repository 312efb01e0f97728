import pytest
from hypothesis import settings

# The same examples everywhere and each time: a red test stays red until it is mended. To look for new ones:
# pytest --hypothesis-profile=search.
settings.register_profile("same-everywhere", derandomize=True, deadline=None, database=None)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile("same-everywhere")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-scripts",
        action="store_true",
        help="write what happens into the protocol scripts, to be read as a diff",
    )
