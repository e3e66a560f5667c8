"""All figures of a model as one HTML page that needs nothing else: no script, no font, no file beside it."""

from collections.abc import Sequence
from html import escape

from PIL import Image

from index.html_page import html_page, inline_jpeg
from model_export.reporting.attention_sheet import SIDE as ATTENTION_SIDE
from model_export.reporting.attention_sheet import Look, global_range
from model_export.reporting.cases import TOP, Case, Match, Ranking
from model_export.reporting.drawing import FRAMES, thumbnail
from model_export.reporting.heat_map import heat_map
from model_export.reporting.ranking_sheet import title

_SIDE = 160  # of a picture in the page's own pixels; shown smaller

_STYLE = """
h3 { font-size: .85rem; margin: .7rem 0 .25rem; color: var(--faint); font-weight: 600; }
pre { font: 13px/1.5 ui-monospace, monospace; background: #f4f5f7; padding: .7rem .9rem; overflow-x: auto; }
section { border-top: 1px solid #dcdfe4; padding: 1.1rem 0; }
.case { display: flex; gap: 1.3rem; align-items: flex-end; }
.rows { min-width: 0; flex: 1; }
.row { display: flex; gap: .4rem; overflow-x: auto; padding-bottom: .2rem; }
figure { margin: 0; flex: none; width: 104px; font-size: .72rem; position: relative; }
figure img { display: block; width: 104px; height: 104px; box-sizing: border-box; border: 4px solid transparent; }
figure.right img { border-color: var(--right); } figure.wrong img { border-color: var(--wrong); }
figure.probe img { border-color: var(--probe); }
figure.right::before, figure.wrong::before { position: absolute; top: 0; right: 0; width: 20px; height: 20px;
       color: #fff; text-align: center; font-weight: 700; line-height: 20px; font-size: 13px; }
figure.right::before { content: "\\2713"; background: var(--right); }
figure.wrong::before { content: "\\2717"; background: var(--wrong); }
figcaption { overflow-wrap: anywhere; line-height: 1.3; padding-top: .15rem; }
figcaption span { color: var(--faint); }
figure.beyond { margin-left: 1.4rem; }
figure.beyond::after { content: "…"; position: absolute; left: -1.1rem; top: 38px; color: var(--faint); }
.case > figure { padding-bottom: .2rem; }
.looks { display: flex; flex-wrap: wrap; gap: .6rem 2rem; }
.looks figure, .looks figure img { width: 128px; } .looks figure img { height: 128px; }
"""


def figures_page(heading: str, figures: str, cases: Sequence[Case], seen: Sequence[Sequence[Look]]) -> str:
    """The page. ``figures`` is shown as it is; ``seen`` holds the looks of each case, none where there are none."""
    legend = (
        f"{len(cases)} probes, the most wrong first: by the rank of the first right match, then by how much farther it "
        "is than the first wrong one. ✓ on green: the same vehicle. ✗ on red: another. "
        f"First {TOP} of each ranking, and the first right match where it stands farther down; d is the distance."
    )
    if any(seen):
        legend += (
            " Attention: bright is high, each map from its own lowest to its highest value (the global one's is given);"
            " the local map is drawn from its standardised channel sum."
        )
    colours = " ".join("--{}: #{:02x}{:02x}{:02x};".format(name, *colour) for name, colour in FRAMES.items())
    told = "\n".join(_case(n, case, own) for n, (case, own) in enumerate(zip(cases, seen, strict=True), 1))
    return html_page(
        heading, legend, f"<pre>{escape(figures)}</pre>\n{told}",
        width=1500, style=f":root {{ {colours} }}\n{_STYLE}",
    )  # fmt: skip


def _case(number: int, case: Case, seen: Sequence[Look]) -> str:
    rows = "".join(
        f"<h3>{escape(word + ranking.model)}</h3>{_row(ranking)}"
        for word, ranking in (("baseline ", case.baseline), ("", case.ranking))
        if ranking
    )
    name = f"{case.probe.vehicle_id} · {case.probe.camera_id or 'no camera'}"
    probe = _figure("probe", thumbnail(case.probe, _SIDE), f"probe {name}", "probe", name)
    attention = f'<h3>attention</h3><div class="looks">{"".join(map(_look, seen))}</div>' if seen else ""
    return (
        f"<section><h2>{number}. {escape(title(case))}</h2>"
        f'<div class="case">{probe}<div class="rows">{rows}</div></div>{attention}</section>'
    )


def _row(ranking: Ranking) -> str:
    shown = [_match(match) for match in ranking.matches]
    if ranking.first_right.place > TOP:
        shown.append(_match(ranking.first_right, "beyond"))
    return f'<div class="row">{"".join(shown)}</div>'


def _match(match: Match, extra: str = "") -> str:
    word = "right" if match.right else "wrong"
    name = f"{match.row.vehicle_id} · {match.row.camera_id or 'no camera'}"
    return _figure(
        f"{word} {extra}".strip(), thumbnail(match.row, _SIDE), f"rank {match.place}, {word}: {name}",
        f"{match.place} · d {match.distance:.3f}", name,
    )  # fmt: skip


def _look(look: Look) -> str:
    picture = Image.fromarray(look.crop).resize((ATTENTION_SIDE, ATTENTION_SIDE), Image.Resampling.LANCZOS)
    parts = [
        _figure(look.frame, picture, look.what, look.what, look.viewpoint),
        *(
            _figure("map", heat_map(look.crop, heat, ATTENTION_SIDE), f"{word} attention on {look.what}", word, "")
            for word, heat in ((global_range(look), look.globally), ("local", look.locally))
        ),
    ]
    return f'<div class="row">{"".join(parts)}</div>'


def _figure(kind: str, picture: Image.Image, alt: str, first: str, second: str) -> str:
    return (
        f'<figure class="{kind}"><img alt="{escape(alt)}" src="{inline_jpeg(picture)}">'
        f"<figcaption>{escape(first)}<br><span>{escape(second)}</span></figcaption></figure>"
    )
