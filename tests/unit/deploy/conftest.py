"""Helm renders the chart for the tests here; without helm they are skipped."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rendered_chart import CHART, MANIFESTS, Deployment, Objects, Refused, parse


@pytest.fixture(scope="session")
def helm() -> str:
    program = os.environ.get("RAFTQ_HELM") or shutil.which("helm")
    if program is None:
        pytest.skip("no helm on the PATH: the chart cannot be rendered")
    return program


@pytest.fixture
def deployment(helm: str, tmp_path: Path) -> Deployment:
    def run(*words: str | Path, **environment: str) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def template(
        *,
        release: str = "raftq",
        namespace: str = "here",
        files: tuple[Path, ...] = (),
        tests: bool = False,
        **values: Any,
    ) -> Objects:
        given = tmp_path / "values.json"
        given.write_text(json.dumps(values))
        options: list[str | Path] = [word for path in (*files, given) for word in ("--values", path)]
        if not tests:
            options.append("--skip-tests")
        return parse(run(helm, "template", release, CHART, "--namespace", namespace, *options))

    def render_manifests() -> Objects:
        (tmp_path / "helm").symlink_to(helm)
        return parse(run(MANIFESTS / "render.sh", "-", PATH=f"{tmp_path}:{os.environ['PATH']}"))

    def lint(values: Path) -> None:
        run(helm, "lint", "--strict", CHART, "--values", values)

    return Deployment(template, render_manifests, lint)
