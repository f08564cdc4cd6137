"""A report as one HTML page that needs nothing else: no script, no request, pictures inside.

Convention: the page shows what ``report.json`` holds and adds only pictures. Whatever comes from
outside (names of scenes and videos) is escaped, and may hold bytes that are no text.
"""

import base64
from html import escape
from typing import Any, NamedTuple

from omnimotion.files import shown

LITTLE_FLOW = 0.5  # coverage below which a frame is named
MOST_NAMED = 20  # frames in one sentence

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #26262b; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.about, td.meaning, figcaption, p.note { color: #5c5c66; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top;
       padding: .35rem 1rem .35rem 0; border-bottom: 1px solid #e4e4e8; }
td.number, th.number { text-align: right; white-space: nowrap;
       font-variant-numeric: tabular-nums; }
.verdict { padding: 0 .5rem; border-radius: .6rem; font-size: .85rem; white-space: nowrap; }
.good { background: #d9f0e2; color: #17603a; } .fair { background: #fdeec9; color: #7a5200; }
.poor { background: #f8d7dc; color: #8c1c30; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; display: block; }
"""
_CAVEAT = (
    "None of this needs the true motion, and none of it can see it. An error is measured against "
    "flow: where flow is wrong, a right answer counts as off, and what flow could not follow is "
    "hardly measured at all. Single matches are held out, not whole regions, so that their "
    "neighbours were drawn. Order and cycle are good in a fit that has learned nothing, too: read "
    "them after the flow error. A poor figure says that something is wrong; good ones say only "
    "that the fit agrees with its flow and with itself. Look at the tracks, too."
)


class Picture(NamedTuple):
    """A PNG and what it shows."""

    png: bytes
    caption: str


def page(content: dict[str, Any], pictures: list[Picture]) -> str:
    """The whole page."""
    title = shown(f"{content['scene']}, run {content['run']}: how good is the fit?")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p class="about">{_about(content)}</p>
<p>{_verdicts(content)}</p>
{_figures(content["figures"])}
<p class="note">{escape(_CAVEAT)} Lengths are in pixels of a frame whose longer side is 256.</p>
{"".join(_figure(picture) for picture in pictures)}
<h2>Flow error by distance in time</h2>
{_table(["frames apart", *_SPREAD], [[name, *_spread(each)] for name, each in _gaps(content)])}
<h2>Worst frames</h2>
{_table(["frame", *_SPREAD, "coverage"], _worst(content))}
<p class="note">{_little_flow(content["coverage"])}</p>
</body>
</html>
"""


def shown_value(figure: dict[str, Any]) -> str:
    """A figure's value with its unit."""
    return _shown(figure["value"], figure["unit"])


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} px" if unit == "px" else f"{value:.1f}"


def _about(content: dict[str, Any]) -> str:
    width, height = content["size"]
    flow = content["flow"]
    facts = [
        f"video {content['source']}", f"{content['n_frames']} frames of {width}x{height}",
        f"flow {flow.get('method')} {flow.get('model') or ''}".strip(),
        f"step {content['step']}", f"seed {content['seed']}",
    ]  # fmt: skip
    if "restarts" in content:
        facts.append(f"the best of {len(content['restarts']['starts'])} seeds that were begun")
    return escape(shown("; ".join(facts)))


def _verdicts(content: dict[str, Any]) -> str:
    found = [figure["verdict"] for figure in content["figures"].values()]
    return ", ".join(
        f'<span class="verdict {name}">{found.count(name)} {name}</span>'
        for name in ("good", "fair", "poor")
    )


def _figures(figures: dict[str, Any]) -> str:
    rows = []
    for figure in figures.values():
        verdict = figure["verdict"]
        mark = f'<span class="verdict {verdict}">{verdict}</span>' if verdict else ""
        rows.append(
            f'<tr><td>{escape(figure["title"])}</td><td class="number">{shown_value(figure)}</td>'
            f'<td>{mark}</td><td class="meaning">{escape(figure["meaning"])}{_bounds(figure)}</td>'
            "</tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _bounds(figure: dict[str, Any]) -> str:
    good, fair, unit = figure["good"], figure["fair"], figure["unit"]
    if good is None or fair is None:
        return ""
    word = "below" if good < fair else "from"
    return f" Good {word} {_bound(good, unit)}, fair {word} {_bound(fair, unit)}."


def _bound(value: float, unit: str) -> str:
    return f"{100 * value:g} %" if unit == "share" else f"{value:g} {unit}"


_SPREAD = ("matches", "median px", "mean px", "below 1 px", "below 2 px", "below 4 px")


def _spread(spread: dict[str, Any]) -> list[str]:
    lengths = [_shown(spread[key], "px").removesuffix(" px") for key in ("median_px", "mean_px")]
    shares = [_shown(spread[f"under_{bound}_px"], "share") for bound in (1, 2, 4)]
    return [str(spread["count"]), *lengths, *shares]


def _gaps(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    held_out = content["held_out"]
    return [
        *held_out["by_gap"].items(), ("any", held_out["all"]),
        ("any, against the camera", held_out["moving"]),
    ]  # fmt: skip


def _worst(content: dict[str, Any]) -> list[list[str]]:
    by_frame, coverage = content["held_out"]["by_frame"], content["coverage"]
    return [
        [str(t), *_spread(by_frame[t]), _shown(coverage[t], "share")]
        for t in content["worst_frames"]
    ]


def _little_flow(coverage: list[float]) -> str:
    """Frames that hardly have a match, in a sentence."""
    frames = [t for t, share in enumerate(coverage) if share < LITTLE_FLOW]
    if not frames:
        return f"Every frame has matches on at least {100 * LITTLE_FLOW:g} % of its area."
    named = ", ".join(map(str, frames[:MOST_NAMED]))
    if len(frames) > MOST_NAMED:
        named += ", ..."
    return (
        f"Frames with matches on less than {100 * LITTLE_FLOW:g} % of their area "
        f"({len(frames)} of {len(coverage)}): {named}."
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f'<th class="number">{escape(each)}</th>' for each in header)
    lines = [f"<tr>{cells}</tr>"]
    for row in rows:
        cells = "".join(f'<td class="number">{escape(each)}</td>' for each in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )
