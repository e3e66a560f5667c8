"""A data folder that an earlier release made, opened by this one: nothing is lost, and searches answer as before.

python -m scripts.check_upgrade [--since v0.1.0]

The earlier release runs in a work tree of its own, by the packages that are installed here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path.cwd()
MANIFEST, QUERY = HERE / "examples/demo-gallery/manifest.csv", HERE / "examples/query.jpg"
MODEL = Path("models/default.onnx")


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
        before = searched(tree, data, model)
        told = run(HERE, "verify", "--data-dir", str(data))
        after = searched(HERE, data, model)
        run(HERE, "add", "--data-dir", str(data), "--model", str(model), str(QUERY))
        again = run(HERE, "verify", "--data-dir", str(data))
    problems = [f"verify says: {text}" for text in (told, again) if "sound" not in text]
    if before != after:
        problems.append(f"{before[:2]} was found, {after[:2]} is found now")
    for problem in problems:
        print(f"wrong: {problem}")
    print(f"from {since}: {len(before)} matches, {'as before' if not problems else 'not as before'}; {again.strip()}")
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


def run(code: Path, *words: str) -> str:
    """What ``vehicle-index`` of this code prints; an error where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(code)}
    command = [sys.executable, "-m", "index.vehicle_index", *words]
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{code}: vehicle-index {' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout


def searched(code: Path, data: Path, model: Path) -> list[tuple[str, float]]:
    """Ids and distances of what is found."""
    text = run(code, "search", "--data-dir", str(data), "--model", str(model), "--top-k", "50", "--json", str(QUERY))
    return [(match["image_id"], match["distance"]) for match in json.loads(text)]


if __name__ == "__main__":
    sys.exit(main())
