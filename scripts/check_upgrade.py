"""A data folder that an earlier release made, opened by this one: nothing is lost, and searches answer as before.

python -m scripts.check_upgrade [--since v0.1.0]

The earlier release runs in a work tree of its own, by the packages that are installed here. Its service is killed once
it has answered, and this one's, with the key that the earlier one made, must tell all that was told before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.server_process import started
from vehicle_search_client import VehicleSearch

HERE = Path.cwd()
MANIFEST, QUERY = HERE / "examples/demo-gallery/manifest.csv", HERE / "examples/query.jpg"
MODEL = Path("models/default.onnx")
INDEX, SERVICE = "index.vehicle_index", "service.vehicle_search"
GALLERY = "/v1/galleries/default"
SAID = {"gallery": "default", "image_id": "v0015_03", "same": True, "query_image_id": "v0015_04"}
WRITES: tuple[tuple[str, str, Any], ...] = (
    ("PUT", "/v1/cameras", {"cameras": [{"camera_id": "c004", "name": "South gate", "latitude": 48.1, "longitude": 11.5}]}),
    ("PATCH", f"{GALLERY}/images/v0015_04", {"attributes": {"colour": "red"}}),
    ("POST", "/v1/feedback", SAID),
    ("POST", "/v1/queries", None),  # the query's picture
)  # fmt: skip
READS = (
    "/v1/galleries", f"{GALLERY}/images?limit=500", f"{GALLERY}/images/v0015_03/crop", f"{GALLERY}/facets", "/v1/cameras",
    "/v1/feedback?gallery=default", "/v1/imports", "/v1/keys", "/v1/audit?limit=500",
)  # fmt: skip
OF_THE_MOMENT = ("last_used_at", "disk_bytes", "index")  # fields that are no part of what is kept


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what came of it; 1 where something was lost."""
    parser = argparse.ArgumentParser(description="Open a data folder of an earlier release.")
    parser.add_argument("--since", metavar="REF", help="the earlier release (default: the last tag)")
    since = parser.parse_args(arguments).since or last_tag()
    if since is None:
        print("there is no tag yet, so there is nothing to upgrade from; --since names a commit")
        return 0
    if subprocess.run(
        ["git", "rev-parse", "--quiet", "--verify", f"{since}^{{commit}}"], capture_output=True
    ).returncode:
        parser.error(f"--since {since}: git knows no such commit")
    with tempfile.TemporaryDirectory() as folder, work_tree(since, Path(folder) / "tree") as tree:
        data = Path(folder) / "data"
        model = Path(folder) / "model.onnx"
        model.write_bytes((tree / MODEL).read_bytes())  # that release's, for both: distances can be compared
        run(tree, "add", "--data-dir", str(data), "--model", str(model), str(MANIFEST))
        run(tree, "delete", "--data-dir", str(data), "v0000_00")
        key = run(tree, "keys", "create", "admin", "--scope", "admin", "--data-dir", str(data), door=SERVICE).strip()
        before = searched(tree, data, model)
        with started(data, model, "--audit", code=tree) as (address, _):
            reads = [*READS, *written(address, key)]
            told = answers(address, key, reads)
        after = searched(HERE, data, model)
        verified = run(HERE, "verify", "--data-dir", str(data))
        with started(data, model, "--audit") as (address, _):
            found = answers(address, key, list(told))
        run(HERE, "add", "--data-dir", str(data), "--model", str(model), str(QUERY))
        again = run(HERE, "verify", "--data-dir", str(data))
    lines = [line for text in (verified, again) for line in text.splitlines()]
    problems = [f"verify says: {line}" for line in lines if "sound" not in line]
    problems += [problem for path in told for problem in lost(path, told[path], found.get(path))]
    if before != after:
        problems.append(f"{before[:2]} was found, {after[:2]} is found now")
    for problem in problems:
        print(f"wrong: {problem}")
    print(
        f"from {since}: {len(before)} matches and {len(told)} answers, {'not ' if problems else ''}as before; {'; '.join(again.splitlines())}"
    )
    return 1 if problems else 0


def last_tag() -> str | None:
    """The nearest tag below this commit; None where there is none."""
    told = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0"], capture_output=True, text=True, check=False
    )  # fmt: skip
    return told.stdout.strip() or None


@contextmanager
def work_tree(ref: str, folder: Path) -> Iterator[Path]:
    """The repository as it was."""
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(folder), ref], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], check=True)


def run(code: Path, *words: str, door: str = INDEX) -> str:
    """What a command of this code prints; an error where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(code)}
    command = [sys.executable, "-m", door, *words]
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{code}: {door} {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def written(address: str, key: str) -> list[str]:
    """Write a little of everything; the addresses of what got one. What that release had not yet is left out, and told."""
    made = []
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for method, path, document in WRITES:
            picture = {"content": QUERY.read_bytes(), "headers": {"Content-Type": "image/jpeg"}}
            answer = client.request(method, path, **(picture if document is None else {"json": document}))
            if answer.is_error:
                print(f"that release does not take {method} {path}: {answer.status_code}")
            elif document is None:
                made.append(answer.headers["Location"])
    with VehicleSearch(address, api_key=key) as service, tempfile.TemporaryDirectory() as folder:
        service.create_gallery("yard")
        with zipfile.ZipFile(Path(folder) / "yard.zip", "w") as archive:
            archive.write(QUERY, "car.jpg")
        service.wait_for_import(service.import_archive(archive.filename or "", gallery="yard").id, progress=False)
    return made


def answers(address: str, key: str, paths: Sequence[str]) -> dict[str, Any]:
    """What a service answers, by path: documents, or the bytes of pictures. What it does not know is left out."""
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        told = {path: client.get(path) for path in paths}
    return {
        path: answer.json() if "json" in answer.headers["Content-Type"] else answer.content
        for path, answer in told.items()
        if answer.is_success
    }


def lost(where: str, before: Any, after: Any) -> Iterator[str]:
    """What of an answer is not in the later one, which may tell more: fields, and entries of a list."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() - set(OF_THE_MOMENT):
            yield from lost(f"{where} {name}", before[name], after.get(name))
    elif isinstance(before, list) and isinstance(after, list):
        for entry in before:
            if all(any(lost(where, entry, other)) for other in after):
                yield f"{where}: {str(entry)[:200]} is gone"
    elif before != after:
        yield f"{where}: {str(before)[:200]} was told, {str(after)[:200]} is now"


def searched(code: Path, data: Path, model: Path) -> list[tuple[str, float]]:
    """Ids and distances of what is found."""
    text = run(code, "search", "--data-dir", str(data), "--model", str(model), "--top-k", "50", "--json", str(QUERY))
    return [(match["image_id"], match["distance"]) for match in json.loads(text)]


if __name__ == "__main__":
    sys.exit(main())
