import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-scripts",
        action="store_true",
        help="write what happens into the protocol scripts, to be read as a diff",
    )
