"""Rankings and attention on disk: the files, the page and what it says."""

import re
from pathlib import Path

import pytest
from PIL import Image

from index.errors import InvalidValue
from model_export.data_sets.data_set import open_data_set
from model_export.measuring.measurement import measure
from model_export.measuring.onnx_model import OnnxModel
from model_export.reporting.checkpoint_model import CheckpointModel
from model_export.reporting.figures import draw_figures
from tests.test_onnx_model import stripped


def test_pictures_and_one_page_that_needs_nothing_else(
    tiny_model: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    model, cars = OnnxModel(tiny_model), open_data_set("manifest.csv", root=data)
    out = tmp_path / "deep" / "figures"
    page = draw_figures(
        model, cars, out, baseline=CheckpointModel.open(tiny_checkpoint), count=8, part="part=test", progress=False
    )
    names = {path.name for path in out.iterdir()}
    cases = {f"{kind}-{number:03}.png" for kind in ("ranking", "attention") for number in range(1, 9)}
    assert names == {"index.html", "rankings.png", "attention.png"} | cases
    sizes = []
    for name in ("ranking-001.png", "rankings.png"):
        with Image.open(out / name) as picture:
            sizes.append(picture.size)
    assert sizes[0][0] == sizes[1][0]
    assert 6 * sizes[0][1] <= sizes[1][1] < 7 * sizes[0][1]
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|<link|url\(|@import|src=\"(?!data:image/jpeg;base64,)", text)
    assert text.count("<section>") == 8
    assert str(measure(model, cars, part="part=test", progress=False).figures) in text
    assert text.count('class="right') + text.count('class="wrong') >= 2 * 8 * 10
    fingerprint = CheckpointModel.open(tiny_checkpoint).fingerprint[:8]
    assert text.count(f"<h3>baseline tiny ({fingerprint})</h3>") == 8
    places = [int(place) for place in re.findall(r"first right match at rank (\d+),", text)]
    assert places == sorted(places, reverse=True)
    assert places[0] > 1
    assert len(re.findall(r'alt="global [^"]*attention on probe"', text)) == 8


def test_a_file_without_attention_gives_rankings_only(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    quiet = OnnxModel(stripped(tiny_model, tmp_path / "quiet.onnx", outputs=("global_attention",)))
    page = draw_figures(quiet, open_data_set("manifest.csv", root=data), tmp_path / "out", count=2, progress=False)
    assert {path.name for path in page.parent.iterdir()} == {
        "index.html",
        "rankings.png",
        "ranking-001.png",
        "ranking-002.png",
    }
    assert "attention" not in page.read_text(encoding="utf-8").lower()


def test_nothing_is_overwritten_and_nothing_senseless_started(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    model, cars = OnnxModel(tiny_model), open_data_set("manifest.csv", root=data)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InvalidValue, match="is not an empty folder; give another"):
        draw_figures(model, cars, tmp_path, progress=False)
    with pytest.raises(InvalidValue, match="--count must be at least 1, not 0"):
        draw_figures(model, cars, tmp_path / "out", count=0, progress=False)
    with pytest.raises(
        InvalidValue, match=r"figures cannot be written to .*mine\.txt.*: Not a directory; give another --out"
    ):
        draw_figures(model, cars, tmp_path / "mine.txt" / "out", count=1, progress=False)
