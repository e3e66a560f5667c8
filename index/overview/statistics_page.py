"""A gallery's statistics as one HTML page that needs nothing else, as a table, and as a JSON document."""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Final

import numpy as np

from index.html_page import html_page
from index.overview.gallery_statistics import HOURS, CameraCounts, Distances, GalleryStatistics
from index.overview.svg_chart import bars, cells, steps
from index.text_table import table_lines

_SHOWN: Final = 40  # cameras on a page or in a table; the others are one line
_NO_CAMERA: Final = "(no camera)"
_NAMES: Final = {"within": "within a vehicle", "between": "between two vehicles"}
_STYLE: Final = """
section { overflow-x: auto; }
svg { display: block; font-family: inherit; font-variant-numeric: tabular-nums; }
ul { background: #fff7e6; border-left: 4px solid #e69f00; margin: .8rem 0; padding: .6rem 1rem .6rem 2rem; }
table { border-collapse: collapse; margin-top: .7rem; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .15rem .9rem .15rem 0; } th:first-child, td:first-child { text-align: left; }
th { color: var(--faint); font-weight: 600; }
p { margin: .3rem 0 .7rem; }
"""


def statistics_page(statistics: GalleryStatistics) -> str:
    """The page."""
    missing = "".join(f"<li>{escape(each)}</li>" for each in statistics.missing)
    sections = [
        ("Images by camera and hour", _hours(statistics)), ("Viewpoints", _viewpoints(statistics)),
        ("Distances", _distances(statistics)),
    ]  # fmt: skip
    told = [f"<ul>{missing}</ul>"] if missing else []
    told += [f"<section><h2>{title}</h2>{body}</section>" for title, body in sections if body]
    return html_page(f"Gallery {statistics.gallery}", _summary(statistics), "\n".join(told), width=1080, style=_STYLE)


def statistics_lines(statistics: GalleryStatistics) -> list[str]:
    """What a terminal shows."""
    lines = [f"{statistics.gallery}: {_summary(statistics)}"]
    if statistics.cameras:
        viewpoints = (name.upper() for name in statistics.viewpoints)
        columns = ("CAMERA", "IMAGES", *viewpoints, f"BUSIEST HOUR ({statistics.zone})")
        rows = [
            (
                name, f"{camera.images:,}", *(_share(camera, each) for each in statistics.viewpoints),
                _busiest(camera),
            )
            for name, camera in _shown(statistics)
        ]  # fmt: skip
        lines += ["", *table_lines(columns, rows)]
    known = [(name, each) for name, each in (("within", statistics.within), ("between", statistics.between)) if each]
    if known:
        rows = [(_NAMES[name], *_figures(each)) for name, each in known]
        lines += ["", *table_lines(("DISTANCE", "PAIRS", "VEHICLES", "5 %", "MEDIAN", "95 %"), rows)]
    crossing = _crossing(statistics)
    return [*lines, *([crossing] if crossing else []), *(["", *statistics.missing] if statistics.missing else [])]


def statistics_document(statistics: GalleryStatistics) -> dict[str, object]:
    """The same as a JSON object."""
    edges, shares = statistics.bins()
    crossing = statistics.crossing()
    return {
        "gallery": statistics.gallery, "images": statistics.images, "vehicles": statistics.vehicles,
        "without": {
            "vehicle_id": statistics.without_vehicle, "camera_id": statistics.without_camera,
            "captured_at": statistics.without_time, "viewpoint": statistics.without_viewpoint,
        },
        "captured": {"first": _time(statistics.first), "last": _time(statistics.last), "timezone": statistics.zone},
        "cameras": [
            {
                "camera_id": camera.camera_id, "images": camera.images, "hours": camera.hours.tolist(),
                "viewpoints": dict(camera.viewpoints),
            }
            for camera in statistics.cameras
        ],
        "distances": {
            "seed": statistics.seed, "bin_edges": [round(edge, 4) for edge in edges.tolist()] if shares else [],
            **{
                name: None if each is None else {
                    "pairs": len(each.values), "vehicles": each.vehicles, "p05": round(each.quantile(0.05), 4),
                    "median": round(each.quantile(0.5), 4), "p95": round(each.quantile(0.95), 4),
                    "histogram": [round(share, 6) for share in shares[name].tolist()],
                }
                for name, each in (("within", statistics.within), ("between", statistics.between))
            },
            "crossing": None if crossing is None else {
                "distance": round(crossing[0], 4), "parted_wrongly": round(crossing[1], 4),
            },
        },
        "missing": statistics.missing,
    }  # fmt: skip


def _summary(statistics: GalleryStatistics) -> str:
    cameras = sum(camera.camera_id is not None for camera in statistics.cameras)
    parts = [
        f"{statistics.images:,} images", f"{statistics.vehicles:,} vehicles with a vehicle_id", f"{cameras:,} cameras"
    ]  # fmt: skip
    if statistics.first is not None and statistics.last is not None:
        parts.append(f"captured from {_time(statistics.first)} to {_time(statistics.last)}")
    return ", ".join(parts)


def _hours(statistics: GalleryStatistics) -> str:
    if statistics.without_time == statistics.images:
        return ""
    shown = _shown(statistics)
    counts = np.stack([camera.hours for _, camera in shown])
    note = (
        f'<p class="faint">Hours of the day in {escape(statistics.zone)}; the sums count images with a time only.</p>'
    )
    return note + cells([name for name, _ in shown], [f"{hour:02}" for hour in range(HOURS)], counts)


def _viewpoints(statistics: GalleryStatistics) -> str:
    if statistics.without_viewpoint == statistics.images or len(statistics.viewpoints) < 2:
        return ""
    whole = {name: sum(camera.viewpoints[name] for camera in statistics.cameras) for name in statistics.viewpoints}
    rows = {"all": whole} | {name: dict(camera.viewpoints) for name, camera in _shown(statistics)}
    return bars(rows, statistics.viewpoints)


def _distances(statistics: GalleryStatistics) -> str:
    edges, shares = statistics.bins()
    if not shares:
        return ""
    crossing = statistics.crossing()
    marks = {} if crossing is None else {f"{crossing[0]:.2f}": crossing[0]}
    drawn = [(name, each) for name, each in (("within", statistics.within), ("between", statistics.between)) if each]
    table = "".join(
        f"<tr><td>{_NAMES[name]}</td>{''.join(f'<td>{cell}</td>' for cell in _figures(each))}</tr>"
        for name, each in drawn
    )
    head = "<tr><th></th><th>pairs</th><th>vehicles</th><th>5 %</th><th>median</th><th>95 %</th></tr>"
    words = f"<p>{escape(_crossing(statistics))}</p>" if crossing else ""
    note = (
        f"A sample, drawn by the seed {statistics.seed}: pairs of images of one vehicle, and of one image each of "
        "different vehicles."
    )
    chart = steps(edges, {_NAMES[name]: shares[name] for name in shares}, marks)
    return f'<p class="faint">{note}</p>{chart}<table>{head}{table}</table>{words}'


def _crossing(statistics: GalleryStatistics) -> str:
    found = statistics.crossing()
    if found is None:
        return ""
    distance, wrongly = found
    return (
        f"At {distance:.4f} as many pairs within a vehicle are farther apart as pairs of two vehicles are nearer: "
        f"{100 * wrongly:.1f} %."
    )


def _figures(distances: Distances) -> tuple[str, ...]:
    quantiles = (f"{distances.quantile(share):.4f}" for share in (0.05, 0.5, 0.95))
    return f"{len(distances.values):,}", f"{distances.vehicles:,}", *quantiles


def _shown(statistics: GalleryStatistics) -> Sequence[tuple[str, CameraCounts]]:
    """Cameras by name, the least busy of very many as one."""
    named = [(_NO_CAMERA if each.camera_id is None else each.camera_id, each) for each in statistics.cameras]
    first, others = named[:_SHOWN], [camera for _, camera in named[_SHOWN:]]
    if others:
        together = CameraCounts(
            camera_id=None, images=sum(each.images for each in others),
            hours=np.sum([each.hours for each in others], axis=0),
            viewpoints={name: sum(each.viewpoints[name] for each in others) for name in statistics.viewpoints},
        )  # fmt: skip
        first.append((f"({len(others):,} others)", together))
    return first


def _share(camera: CameraCounts, viewpoint: str) -> str:
    total = sum(camera.viewpoints.values())
    return f"{100 * camera.viewpoints[viewpoint] / total:.0f} %" if total else "-"


def _busiest(camera: CameraCounts) -> str:
    if not camera.hours.any():
        return "-"
    hour = int(camera.hours.argmax())
    return f"{hour:02}:00, {int(camera.hours[hour]):,} images"


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")
