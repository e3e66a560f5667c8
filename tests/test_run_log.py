"""What a run tells on disk."""

import json
from pathlib import Path

from model_export.training.run_log import RunLog, log_folder


def test_a_resumed_run_goes_on_in_the_same_file(tmp_path: Path) -> None:
    folder = log_folder(tmp_path / "runs" / "a.pt")
    assert folder == tmp_path / "runs" / "a-log"
    for step in (1, 2):
        log = RunLog(folder)
        log.write(step, {"loss": 0.5}, kind="train")
        log.close()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"], line["kind"]) for line in lines] == [(1, 0.5, "train"), (2, 0.5, "train")]
