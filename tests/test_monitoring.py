"""What is watched: the dashboard and the alerts ask for figures that there are, by a real Prometheus where there is one."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.archives import pack
from tests.metric_queries import (
    ALERTS,
    DASHBOARD,
    FOLDER,
    Query,
    joined_labels,
    panels,
    plain,
    queries,
    rules,
    selectors,
)
from tests.pictures import jpeg
from tests.server_process import free_port, serving
from tests.test_metrics import figures, served_names
from vehicle_search_client import VehicleSearch

QUERIES = queries()
FIGURES = Path("docs/operations/monitor.md").read_text(encoding="utf-8")
RUNBOOK = Path("docs/operations/alerts.md")
TARGET_LABELS = {"job", "instance", "part"}  # of docker/monitoring/prometheus.yml
PROMETHEUS_OWN = {"up": set[str](), "ALERTS": {"alertname", "alertstate", "severity"}}
NOT_SHOWN = {"vehicle_search_kept_queries", "process_virtual_memory_bytes"}  # their neighbours say more
EMPTY_WHILE_ALL_IS_WELL = {"Firing", "Days until the disk is full", "Left of moves to another model", "Starts"}
SEARCHES = 'vehicle_search_requests_total{route="/v1/galleries/{gallery}/search"}'
PROMETHEUS = "Debian 12's package `prometheus` has it (apt-get install prometheus)"


@pytest.fixture(scope="module")
def watched(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A service and a folder for who watches it; it asks for keys from the first use of them on, not for figures."""
    folder = tmp_path_factory.mktemp("watched")
    with serving(folder / "data", tiny_model, "--audit", "--metrics-open") as address:
        yield address, folder


@pytest.fixture(scope="module")
def labels(watched: tuple[str, Path]) -> dict[str, set[str]]:
    """Which labels each figure has, by the name that a query has; those that no sample has now by the documentation."""
    address, _ = watched
    found: dict[str, set[str]] = {name: set(own) for name, own in PROMETHEUS_OWN.items()}
    table = re.findall(r"^\| `((?:vehicle_search|process)_\w+)` \| ([^|]*) \| (.*) \|$", FIGURES, re.MULTILINE)
    served = served_names(address)
    for name, own, what in table:
        if name in served:
            parts = ("_bucket", "_sum", "_count") if what.startswith("histogram") else ("",)
            for part in parts:
                found[name + part] = set(re.findall(r"`(\w+)`", own)) | ({"le"} if part == "_bucket" else set())
    for name, pairs in figures(address):
        found.setdefault(name, set()).update(label for label, _ in pairs)
    return found


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_what_is_asked_for_is_there(query: Query, labels: dict[str, set[str]]) -> None:
    asked = selectors(query.expression)
    assert asked, "no figure is asked for"
    for selector in asked:
        assert selector.metric in labels, selector.metric
        for label, _, _ in selector.matchers:
            assert label in labels[selector.metric] | TARGET_LABELS, f"{selector.metric} has no label {label}"
    for label, metrics in joined_labels(query.expression):
        own = set[str]().union(*(labels[metric] for metric in metrics))
        assert label in own | TARGET_LABELS, f"none of {metrics} has the label {label}"
    shown = set[str]().union(*(labels[selector.metric] for selector in asked)) | TARGET_LABELS
    assert query.shown <= shown


@pytest.fixture(scope="module")
def routes(watched: tuple[str, Path]) -> list[str]:
    return list(httpx.get(f"{watched[0]}/openapi.json").json()["paths"])


@pytest.fixture(scope="module")
def label_values(watched: tuple[str, Path]) -> set[tuple[str, str, str]]:
    """Name, label and value of every figure that there is before anything was done."""
    return {(name, label, value) for name, pairs in figures(watched[0]) for label, value in pairs}


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_values_that_are_asked_for_are_some_that_there_are(
    query: Query, routes: list[str], label_values: set[tuple[str, str, str]]
) -> None:
    for selector in selectors(query.expression):
        for label, operator, value in selector.matchers:
            if label == "route":
                assert any(re.fullmatch(value, route) for route in routes), value
            elif label == "status" and selector.metric == "vehicle_search_requests_total":
                assert any(re.fullmatch(value, str(status)) for status in range(400, 600)), value
            elif label not in TARGET_LABELS and selector.metric not in PROMETHEUS_OWN:
                values = [each for name, own, each in label_values if (name, own) == (selector.metric, label)]
                assert any(re.fullmatch(value, each) for each in values), (
                    f"{selector.metric} {label} {operator} {value}"
                )


def test_every_figure_is_looked_at(watched: tuple[str, Path]) -> None:
    asked = {
        re.sub(r"_(?:bucket|sum|count)$", "", each.metric) for query in QUERIES for each in selectors(query.expression)
    }
    assert served_names(watched[0]) - asked == NOT_SHOWN


def test_every_alert_says_what_to_do_and_the_other_way_round() -> None:
    told = re.findall(r"^## (\w+)\n\n(.+)", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in told] == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"{RUNBOOK}#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_every_panel_says_what_it_shows_and_stands_alone() -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        where = panel["gridPos"]
        cells = {(where["x"] + x, where["y"] + y) for x in range(where["w"]) for y in range(where["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    for panel in panels():
        assert panel["description"], panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${source}"}, panel["title"]


def test_rules_and_their_tests_are_what_promtool_takes() -> None:
    if shutil.which("promtool") is None:
        pytest.skip(f"no promtool: {PROMETHEUS}")
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        run = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_is_tried_both_ways() -> None:
    """It comes where it should, and with figures of a sound service it does not."""
    tried: dict[str, set[bool]] = {}
    for case in yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]:
        for each in case["alert_rule_test"]:
            tried.setdefault(each["alertname"], set()).add(bool(each["exp_alerts"]))
    assert tried == {rule["alert"]: {True, False} for rule in rules()}


class Asked:
    """A running Prometheus."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ready(self) -> bool:
        return httpx.get(f"{self._address}/-/ready").is_success

    def answer(self, path: str, **query: str) -> Any:
        response = httpx.get(f"{self._address}/api/v1/{path}", params=query)
        assert response.status_code == 200, f"{query}: {response.text}"
        return response.json()["data"]

    def values(self, expression: str) -> list[Any]:
        found: list[Any] = self.answer("query", query=expression)["result"]
        return found

    def until(self, true: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while True:
            try:
                if found := true():
                    return found
            except httpx.TransportError:  # it is starting
                pass
            assert time.monotonic() < deadline, "it does not happen"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def prometheus(watched: tuple[str, Path]) -> Iterator[Asked]:
    """The shipped configuration and rules at work, asking a service of this machine every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip(f"no prometheus: {PROMETHEUS}")
    address, folder = watched
    document = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = document["scrape_configs"]
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(ALERTS.resolve())]
    del job["dns_sd_configs"]
    job["static_configs"][0]["targets"] = [address.removeprefix("http://")]
    job["authorization"]["credentials_file"] = str(folder / "metrics_key")
    (folder / "metrics_key").write_text("")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
    port = free_port()
    command = [
        program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    with subprocess.Popen(command) as process:
        try:
            asked = Asked(f"http://127.0.0.1:{port}")
            asked.until(asked.ready)
            asked.until(lambda: asked.values('up{job="vehicle-search"} == 1'))
            yield asked
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def used(prometheus: Asked, watched: tuple[str, Path]) -> Asked:
    """The same, once the service was used: searches, an import with a picture that is none, keys."""
    address, folder = watched
    archive = pack(folder / "crops.zip", {"a.jpg": jpeg(0), "b.jpg": b"no picture"})
    with VehicleSearch(address) as client:
        client.put_image("a", jpeg(1))
        client.search(jpeg(1))
        prometheus.until(lambda: prometheus.values(SEARCHES))
        client.search(jpeg(1))  # what was there from the first look on has not increased
        assert client.wait_for_import(client.import_archive(archive).id, progress=False).failed == 1
        token = client.create_key("prometheus", scopes=["admin"]).token
    with VehicleSearch(address, api_key=token) as client:
        client.galleries()
    assert httpx.get(f"{address}/v1/galleries").status_code == 401
    prometheus.until(
        lambda: (
            prometheus.values('rate(vehicle_search_requests_total{status="401"}[1m])')
            and prometheus.values("rate(vehicle_search_key_requests_total[1m])")
        )
    )
    return prometheus


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_panels_show_something(panel: dict[str, Any], used: Asked) -> None:
    answers = [used.values(plain(target["expr"])) for target in panel["targets"]]
    if panel["title"] not in EMPTY_WHILE_ALL_IS_WELL | {"Requests that fail"} or panel["type"] == "stat":
        assert all(answers), panel["title"]


def test_an_alert_comes_from_the_service_to_who_watches(used: Asked) -> None:
    def state() -> dict[str, str]:
        (group,) = used.answer("rules")["groups"]
        assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}, group
        return {rule["name"]: rule["state"] for rule in group["rules"]}

    used.until(lambda: state()["VehicleSearchImagesFail"] == "firing")
    for name in ("VehicleSearchDown", "VehicleSearchGalleryDamaged", "VehicleSearchAuditLost", "VehicleSearchRestarts"):
        assert state()[name] == "inactive", name
