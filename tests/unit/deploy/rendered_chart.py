"""The chart's objects and the plain manifests, parsed: what the tests look at. conftest.py has helm render them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

REPOSITORY = Path(__file__).parents[3]
CHART = REPOSITORY / "deploy" / "helm" / "raftq"
MANIFESTS = REPOSITORY / "deploy" / "manifests"

Object = dict[str, Any]


class _AsKubernetes(yaml.SafeLoader):
    """Takes 1e3 for a number too, as Kubernetes' own reader does."""


_AsKubernetes.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), "-+0123456789"
)


class Refused(Exception):
    """Helm rendered nothing; the message is what it said."""


class Objects(tuple[Object, ...]):
    def one(self, kind: str, name: str | None = None) -> Object:
        found = [each for each in self if each["kind"] == kind and name in (None, each["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} of kind {kind}, name {name}"
        return found[0]

    def pod(self) -> Object:
        template: Object = self.one("StatefulSet")["spec"]["template"]
        return template

    def agent(self) -> Object:
        return next(each for each in self.pod()["spec"]["containers"] if each["name"] == "agent")

    def names(self) -> set[tuple[str, str]]:
        return {(each["kind"], each["metadata"]["name"]) for each in self}


class Deployment(NamedTuple):
    template: Callable[..., Objects]
    """Renders with the values given as keywords.

    Beside them `release`, `namespace`, `files` of values, and `tests`: its pod too.
    """
    render_manifests: Callable[[], Objects]
    lint: Callable[[Path], None]


def parse(text: str) -> Objects:
    return Objects(each for each in yaml.load_all(text, _AsKubernetes) if each)
