"""The manifests of deploy/: valid, and about this service as it is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cloudcoil.models.prometheus_operator.v1 as operator
import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.settings import PREFIX, Settings, read_settings
from service.signals import SECONDS_IN_ORDER
from tests.manifests import (
    DEPLOY,
    PARTS,
    VARIANTS,
    Manifest,
    built,
    of_kind,
    only,
    pods,
    pods_of,
    rendered,
    selects,
    service_pod,
    settings_of,
    values_of,
)
from tests.pictures import jpeg
from tests.server_process import refused, started

SHARED = {f"{PREFIX}{name}" for name in ("MILVUS_URI", "MILVUS_TOKEN_FILE", "DATABASE_URL_FILE", "CROPS_URL")}
"""What replicas have in common."""

OLDEST, NEWEST = "1.30.0", "1.37.0"
README = (DEPLOY / "README.md").read_text(encoding="utf-8")
GUIDE = Path("docs/operations.md").read_text(encoding="utf-8")
TAINT = "nvidia.com/gpu"

every_variant = pytest.mark.parametrize("variant", VARIANTS)


@pytest.mark.parametrize("release", [OLDEST, NEWEST])
def test_every_manifest_is_valid(release: str) -> None:
    """By the schemas of Kubernetes' own releases, in which no field is unknown."""
    for text in sorted({json.dumps(manifest) for variant in VARIANTS for manifest in rendered(variant)}):
        manifest = json.loads(text)
        if manifest["kind"] == "ServiceMonitor":
            read = operator.ServiceMonitor.model_validate(manifest)
            # fields that it does not know are passed over: they would be missing here
            assert json.loads(read.model_dump_json(by_alias=True, exclude_unset=True)) == manifest
        else:
            kubernetes_validate.validate(manifest, release, strict=True)


def test_the_releases_are_the_ones_that_the_guide_names() -> None:
    assert f"Kubernetes {OLDEST.removesuffix('.0')} or newer" in README
    assert kubernetes_validate.latest_version() >= NEWEST


def test_the_files_are_tidy() -> None:
    command = [
        sys.executable,
        "-m",
        "yamllint",
        "--strict",
        "--config-file",
        str(DEPLOY / ".yamllint.yaml"),
        str(DEPLOY),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout


@every_variant
def test_selectors_pick_what_they_are_meant_for(variant: str) -> None:
    serving = service_pod(variant).labels
    others = [pod.labels for pod in pods(variant) if pod.owner != "vehicle-search"]
    named = [
        only(variant, "Service")["spec"]["selector"],
        only(variant, "PodDisruptionBudget")["spec"]["selector"],
        *(each["spec"]["selector"] for each in of_kind(variant, "Deployment", "StatefulSet")),
        *values_of([pod.spec for pod in pods(variant)], "labelSelector"),
    ]
    assert len(named) >= 5
    for selector in named:
        assert selects(selector, serving), selector
        assert not any(selects(selector, labels) for labels in others), selector


@every_variant
def test_no_pod_is_reached_or_reaches_out_but_by_a_policy(variant: str) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(variant, "NetworkPolicy")}
    denying = policies.pop("vehicle-search-deny")
    assert denying.keys() == {"podSelector", "policyTypes"}
    assert set(denying["policyTypes"]) == {"Ingress", "Egress"}
    assert all(selects(denying["podSelector"], pod.labels) for pod in pods(variant))
    for spec in policies.values():
        assert selects(spec["podSelector"], service_pod(variant).labels)
        for way in ("ingress", "egress"):
            assert (way in spec) is (way.capitalize() in spec["policyTypes"])
            for rule in spec.get(way, []):
                assert rule["ports"]
                assert all(rule.get("from") or rule["to"])  # an empty one is everybody


@every_variant
def test_what_is_named_is_there(variant: str) -> None:
    """Volumes, claims, settings, accounts, workloads; Secrets are the guide's."""
    claims = {each["metadata"]["name"] for each in of_kind(variant, "PersistentVolumeClaim")}
    for each in of_kind(variant, "StatefulSet"):
        claims |= {f"{claim['metadata']['name']}-{each['metadata']['name']}-0" for claim in _claims(each)}
    for pod in pods(variant):
        volumes = {volume["name"] for volume in pod.spec["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in _claims(_workload(variant, pod.owner))}
        for container in pod.containers:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert set(values_of(pod.spec, "claimName")) <= claims
        assert {pod.spec["serviceAccountName"]} == {_name(each) for each in of_kind(variant, "ServiceAccount")}
        for reference in values_of(pod.spec, "configMapRef"):
            assert only(variant, "ConfigMap", reference["name"])
    secrets = {*values_of(list(rendered(variant)), "secretName")}
    secrets |= {credentials["name"] for credentials in values_of(list(rendered(variant)), "credentials")}
    for secret in secrets:
        assert f"create secret generic {secret}" in README or f"create secret tls {secret}" in README, secret
    for scaler in of_kind(variant, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert "replicas" not in only(variant, target["kind"], target["name"])["spec"]  # each apply would undo its work


@every_variant
def test_ports_agree(variant: str) -> None:
    (container,) = service_pod(variant).spec["containers"]
    (port,) = container["ports"]
    settings = settings_of(variant)
    assert port["containerPort"] == int(settings.get(f"{PREFIX}PORT", Settings.model_fields["port"].default))
    (offered,) = only(variant, "Service")["spec"]["ports"]
    assert offered["targetPort"] == port["name"]
    for probe in values_of(container, "httpGet"):
        assert probe["port"] == port["name"]
    (rule,) = only(variant, "NetworkPolicy", "vehicle-search-clients")["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [port["name"]]
    for ingress in of_kind(variant, "Ingress"):
        for backend in values_of(ingress, "backend"):
            assert backend == {"service": {"name": "vehicle-search", "port": {"name": offered["name"]}}}
    for monitor in of_kind(variant, "ServiceMonitor"):
        assert [each["port"] for each in monitor["spec"]["endpoints"]] == [offered["name"]]
        assert selects(monitor["spec"]["selector"], only(variant, "Service")["metadata"]["labels"])
        assert monitor["metadata"]["namespace"] == only(variant, "Service")["metadata"]["namespace"]


@every_variant
def test_probes_ask_routes_of_the_service(variant: str) -> None:
    paths = json.loads(Path("docs/openapi.json").read_text(encoding="utf-8"))["paths"]
    (container,) = service_pod(variant).spec["containers"]
    asked = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/livez"}
    for path in (*asked.values(), *(each["path"] for each in _endpoints(variant))):
        assert "get" in paths[path], path


@every_variant
def test_environment_variables_are_settings(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings_of(variant)
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    named = {key for pod in pods(variant) for each in values_of(pod.spec, "env") for key in _names(each)} | given.keys()
    assert {key for key in named if key.startswith(PREFIX)} <= known
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    settings = read_settings([], prog="vehicle-search serve")
    assert not settings.loopback
    assert not settings.allow_unauthenticated_remote
    (container,) = service_pod(variant).spec["containers"]
    mounts = [Path(each["mountPath"]) for each in container["volumeMounts"]]
    files = [Path(value) for key, value in given.items() if key.startswith(PREFIX) and key.endswith("_FILE")]
    for path in (settings.data_dir, *files):
        assert any(path.is_relative_to(mount) for mount in mounts), path
    if _workload(variant, "vehicle-search")["kind"] != "StatefulSet":
        assert given.keys() >= SHARED


@every_variant
def test_links_to_services_are_off_because_the_service_would_not_start(variant: str) -> None:
    assert all(pod.spec["enableServiceLinks"] is False for pod in pods(variant))


def test_a_link_to_its_own_service_would_end_the_start() -> None:
    assert "setting port = 'tcp://10.0.0.1:80'" in refused(env={**os.environ, f"{PREFIX}PORT": "tcp://10.0.0.1:80"})
    assert "is not a setting" in refused(env={**os.environ, f"{PREFIX}SERVICE_HOST": "10.0.0.1"})


@every_variant
def test_a_stop_may_take_as_long_as_the_service_takes(variant: str) -> None:
    spec = service_pod(variant).spec
    (container,) = spec["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = int(settings_of(variant).get(f"{PREFIX}GRACE_SECONDS", Settings.model_fields["grace_seconds"].default))
    assert spec["terminationGracePeriodSeconds"] >= pause + grace + SECONDS_IN_ORDER
    readiness = container["readinessProbe"]
    assert pause >= readiness["periodSeconds"]


@every_variant
def test_nobody_has_more_rights_than_needed(variant: str) -> None:
    (user,) = re.findall(r"useradd .*--uid (\d+)", Path("docker/Dockerfile").read_text(encoding="utf-8"))
    (namespace,) = of_kind(variant, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each["metadata"].get("namespace", _name(namespace)) for each in rendered(variant)} == {_name(namespace)}
    for pod in pods(variant):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert {context["runAsUser"], context["fsGroup"]} == {int(user)}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        assert not any(key.startswith("host") and key != "hostname" for key in pod.spec)
        for volume in pod.spec["volumes"]:
            assert "hostPath" not in volume
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": None}), volume
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/data", "/tmp"}
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}  # the processors decide about threads
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}


@every_variant
def test_images_are_of_this_release(variant: str) -> None:
    version = Path("vehicle_search_client/VERSION").read_text(encoding="utf-8").strip()
    on_gpu = "gpu" in variant.split() or variant == "example"
    for pod in pods(variant):
        for container in pod.containers:
            image, _, tag = container["image"].rpartition(":")
            assert tag == version
            assert image.rpartition("/")[2] == ("vehicle-search-gpu" if on_gpu else "vehicle-search")


@pytest.mark.parametrize("variant", ["local gpu", "cluster gpu", "example"])
def test_the_gpu_is_asked_for_by_the_service_alone(variant: str) -> None:
    spec = service_pod(variant).spec
    (container,) = spec["containers"]
    assert container["resources"]["limits"][TAINT] == "1"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert settings_of(variant)[f"{PREFIX}DEVICE"] == "cuda"
    for pod in pods(variant):
        assert {"key": TAINT, "operator": "Exists", "effect": "NoSchedule"} in pod.spec["tolerations"], pod.owner
        assert list(values_of(pod.spec, TAINT)) == (["1"] if pod.owner == "vehicle-search" else [])
    for deployment in of_kind(variant, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each.startswith(("local", "example"))])
def test_one_process_owns_the_galleries_and_the_backup_runs_on_its_machine(variant: str) -> None:
    workload = only(variant, "StatefulSet")
    assert workload["spec"]["replicas"] == 1
    assert [claim["spec"]["accessModes"] for claim in _claims(workload)] == [["ReadWriteOnce"]]
    (backup,) = (pod for pod in pods(variant) if pod.owner == "vehicle-search-backup")
    (term,) = backup.spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert selects(term["labelSelector"], service_pod(variant).labels)
    for job in of_kind(variant, "CronJob"):
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert not any(values_of(job, "readOnly")), "where the log is empty a folder would be read as unchanging"
    assert only(variant, "CronJob", "vehicle-search-restore")["spec"]["suspend"] is True


def test_figures_that_are_named_are_served(server: str, client: httpx.Client, gallery: str) -> None:
    client.put(f"{gallery}/images/a", content=jpeg(1))
    families = {each.name: each.type for each in text_string_to_metric_families(client.get("/metrics").text)}
    (scaler,) = of_kind("cluster", "HorizontalPodAutoscaler")
    (metric,) = (each["pods"] for each in scaler["spec"]["metrics"])
    assert families[metric["metric"]["name"]] == "gauge"
    assert 2 <= int(metric["target"]["averageValue"]) < Settings.model_fields["queue_size"].default
    named = set()
    for path in (each for each in DEPLOY.rglob("*") if each.is_file()):
        named |= set(re.findall(r"\bvehicle_search_[a-z_]+", path.read_text(encoding="utf-8")))
    assert named
    assert {each.removesuffix("_total") for each in named} - {"vehicle_search_client"} <= families.keys()


def test_the_guide_names_what_there_is() -> None:
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_dir() or path.name in ("settings.env",):
            assert f"{path.relative_to(DEPLOY)}" in README, path
    assert set(re.findall(r"components/(\w+)", README)) == set(PARTS)
    for kind, named in re.findall(r"\b(cronjob|statefulset|deployment|service)/([\w-]+)", README):
        there = {_name(each) for variant in VARIANTS for each in rendered(variant) if each["kind"].lower() == kind}
        assert named in there, f"{kind}/{named}"
    assert set(re.findall(r"-n (\S+)", README)) == {"vehicle-search"}
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]", README)) <= known
    assert "(kubernetes.md), which is `deploy/README.md`" in " ".join(GUIDE.split())


def test_the_folder_that_the_guide_shows_is_one(tmp_path: Path) -> None:
    shown, rules = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
    assert rules.keys() == {"rules"}
    shown["resources"] = [os.path.relpath(DEPLOY / "example" / each, tmp_path) for each in shown["resources"]]
    images = [each["image"] for pod in pods_of(built(tmp_path, shown)) for each in pod.containers]
    assert set(images) == {"registry.example.org/vehicle-search:0.1.0"}


def test_a_night_first_key_service_backup_and_restore(tiny_model: Path, tmp_path: Path) -> None:
    """The commands of the manifests, run as they stand there on folders in the places of the volumes."""
    volume, backups = tmp_path / "data", tmp_path / "backup"
    volume.mkdir(), backups.mkdir()  # type: ignore[func-returns-value]
    (volume / "lost+found").mkdir()  # as on a new disk

    def run(owner: str, container: str, **more: str) -> subprocess.CompletedProcess[str]:
        (pod,) = (each for each in pods("local") if each.owner == owner)
        (found,) = (each for each in pod.containers if each["name"] == container)
        text = json.dumps(found["command"]).replace("/data", str(volume)).replace("/backup", str(backups))
        given = {each["name"]: each["value"] for each in found.get("env", [])} | more
        env = {**os.environ, **_on(settings_of("local"), volume), **given}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        return subprocess.run(json.loads(text), env=env, capture_output=True, text=True, timeout=120, check=False)

    assert run("vehicle-search", "first-key").returncode == 0
    key = (volume / "first-key").read_text().strip()
    assert (volume / "first-key").stat().st_mode & 0o077 == 0
    assert run("vehicle-search", "first-key").returncode == 0
    assert (volume / "first-key").read_text().strip() == key  # a restart makes no other one

    folder = Path(_on(settings_of("local"), volume)[f"{PREFIX}DATA_DIR"])
    options = ["--host", settings_of("local")[f"{PREFIX}HOST"]]
    images, headers = "/v1/galleries/default/images", {"Authorization": f"Bearer {key}"}
    with started(folder, tiny_model, *options) as (address, process):
        assert httpx.get(f"{address}{images}").status_code == 401
        with httpx.Client(base_url=address, headers=headers) as client:
            for n in range(3):
                assert client.put(f"{images}/a{n}", content=jpeg(n)).status_code == 201
            backup = run("vehicle-search-backup", "job")
            assert (backup.returncode, backup.stdout.split(",")[0]) == (0, "default: 3 images")
            assert client.delete(f"{images}/a1").status_code == 204
            early = run("vehicle-search-restore", "job")
            assert early.returncode == 2
            assert "scale the StatefulSet to 0 first" in early.stderr
            assert client.put(f"{images}/a9", content=jpeg(9)).status_code == 201
        process.terminate()
        assert process.wait(30) == 0

    restored = run("vehicle-search-restore", "job")
    assert restored.returncode == 0, restored.stderr
    assert "erased since, left out: 1" in restored.stdout
    assert [path.name for path in volume.glob("before-*")]
    assert _listed(folder, tiny_model, headers) == ["a0", "a2"]

    folder.rename(volume / "restored")  # as a kill before the last step would leave it
    continued = run("vehicle-search-restore", "job")
    assert (continued.returncode, continued.stdout) == (0, f"{folder} is the restored folder now\n")
    again = run("vehicle-search-restore", "job", FORGET_ERASURES="yes")
    assert "what was erased after the backup is in it again" in again.stdout, again.stderr
    assert _listed(folder, tiny_model, headers) == ["a0", "a1", "a2"]


def _listed(folder: Path, model: Path, headers: dict[str, str]) -> list[str]:
    """The images that a service on a folder tells whoever has a key of before."""
    with started(folder, model, "--host", "0.0.0.0") as (address, _):
        listed = httpx.get(f"{address}/v1/galleries/default/images", headers=headers).json()["images"]
    return [each["image_id"] for each in listed]


def _workload(variant: str, owner: str) -> Manifest:
    """The workload that a pod is of."""
    (found,) = (each for each in of_kind(variant, "Deployment", "StatefulSet", "CronJob") if _name(each) == owner)
    return found


def _name(manifest: Manifest) -> str:
    """Of a manifest."""
    return str(manifest["metadata"]["name"])


def _claims(workload: Manifest) -> list[Manifest]:
    return list(workload["spec"].get("volumeClaimTemplates", []))


def _endpoints(variant: str) -> list[Manifest]:
    return [endpoint for each in of_kind(variant, "ServiceMonitor") for endpoint in each["spec"]["endpoints"]]


def _names(env: list[Manifest]) -> list[str]:
    return [each["name"] for each in env]


def _on(settings: dict[str, str], volume: Path) -> dict[str, str]:
    return {key: re.sub(r"^/data\b", str(volume), value) for key, value in settings.items()}
