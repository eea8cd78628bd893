"""Write a folder with a page for deciding on issues: no server, no network."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from vlg_fastai.audit import issues
from vlg_fastai.console import drawable, track
from vlg_fastai.data.decisions import COLUMNS
from vlg_fastai.data.images import BrokenImageError, quiet_decoders, read_image
from vlg_fastai.machine.device import cpus
from vlg_fastai.pages import page

SIDE = 200  # pixels of a thumbnail's long side
MOST = 3_000  # rows of an issue on the page
TYPICAL = 2  # photos shown for each label in question
PAGE, PICTURES = "index.html", "pictures"
OWN_NAME = re.compile(r"[0-9a-f]{32}|\d+")  # of a picture; earlier audits numbered them
LABELLED = ("doubtful_label", "cross_class_twin")  # where a new label may be the fix
TWINS = tuple(name for name in issues.ORDER if "twin" in name)
TWIN = {"mirrored_twin": "its mirror image", "review_twin": "similar"}  # the photo beside one


@dataclass(frozen=True)
class Shown:
    "One row of the page: a photo, its issue, and (name, what it is) of the photos beside it."

    row: dict
    beside: list[tuple[str, str]]


def write(folder, found, look, made):
    "Write the page and its thumbnails into `folder`; return the path of the page."
    typical = typical_photos(look)
    first = both_ways(found[found.groupby("issue").cumcount() < MOST], look)
    rows = [shown(row, typical) for row in first.to_dict("records")]
    names = {name for row in rows for name in [row.row["file"], *dict(row.beside)]}
    drawn = look.photos[look.photos["name"].isin(names)]
    pictures = thumbnails(drawn, folder / PICTURES)
    content = [as_json(row, pictures) for row in rows]
    counts = first["issue"].value_counts()
    listed = found["issue"].value_counts()
    sections = [
        {
            "name": name,
            "words": issues.WORDS[name] + _cut(listed[name]),
            "count": int(counts[name]),
            "folded": name in issues.NOISY,
        }
        for name in issues.ORDER
        if name in counts
    ]
    written = page.write(
        folder / PAGE, "audit.html", sections=sections, rows=content,
        given=[given(*pair) for pair in made.made.items()],
        classes=sorted(look.photos.loc[look.labelled, "label"].unique()), columns=COLUMNS,
        decisions=drawable(made.path), key=drawable(made.path.resolve()),
    )  # fmt: skip
    sweep(folder / PICTURES, pictures.values())
    return written


def _cut(count):
    return f"; showing the first {MOST} of {count}, issues.csv has all" if count > MOST else ""


def both_ways(found, look):
    "`found` with each pair across classes also reversed: either photo may have the wrong label."
    across = found[found["issue"] == "cross_class_twin"]
    facts = look.photos.drop_duplicates("name").set_index("name")
    twins = facts.loc[across["twin_of"], ["label", "content", "folder"]].reset_index(drop=True)
    turned = across.reset_index(drop=True).assign(
        file=across["twin_of"].to_numpy(), twin_of=across["file"].to_numpy(),
        suggested=across["label"].to_numpy(), **twins,
    )  # fmt: skip
    return pd.concat([found, turned], ignore_index=True)


def given(key, decision):
    "An earlier decision, as a row of the file."
    return {"content": key[0], "label": key[1], "file": "", **vars(decision)}


def typical_photos(look):
    "{label: names of the photos nearest to the mean of its features}."
    photos, found = look.photos, {}
    for label in photos.loc[look.labelled, "label"].unique():
        rows = np.flatnonzero((photos["label"] == label) & look.labelled)
        x = look.x[rows].astype(np.float32)
        near = np.argsort(np.linalg.norm(x - x.mean(0), axis=1), kind="stable")[:TYPICAL]
        found[label] = photos["name"].iloc[rows[near]].tolist()
    return found


def shown(row, typical):
    "A row with its twin beside it, or with typical photos of the given and suggested labels."
    if row["issue"] in TWINS:
        return Shown(
            row, [(row["twin_of"] or row["suggested"], TWIN.get(row["issue"], "its twin"))]
        )
    if row["issue"] == "doubtful_label":
        labels = row["label"], row["suggested"]
        return Shown(row, [(name, f"typical of {drawable(label)}")
                           for label in labels for name in typical.get(label, [])])  # fmt: skip
    return Shown(row, [])


def thumbnails(photos, folder):
    """{name: path of its picture below the page} for the table `photos`; made on all cores.

    A picture is named after its photo's content, so no name ever shows another photo, whichever
    page is open and whatever other audits have written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path_of = dict(zip(photos["content"], photos["path"], strict=True))
    with quiet_decoders(), ThreadPoolExecutor(cpus()) as pool:
        made = pool.map(lambda pair: _thumbnail(*pair, folder), path_of.items())
        done = zip(path_of, track(made, "thumbnails", len(path_of)), strict=True)
        kept = {content for content, drawn in done if drawn}
    pairs = zip(photos["name"], photos["content"], strict=True)
    return {name: f"{PICTURES}/{content}.jpg" for name, content in pairs if content in kept}


def _thumbnail(content, path, folder):
    try:
        photo = read_image(path, SIDE, content)
    except BrokenImageError:
        return False
    photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    hidden = folder / f".{content}.{os.getpid()}.jpg"
    photo.save(hidden, quality=82)
    os.replace(hidden, folder / f"{content}.jpg")  # no fsync: the next audit recreates a lost one
    return True


def sweep(folder, shown):
    "Remove the pictures in `folder` that the page does not show: leftovers of earlier audits."
    names = {path.removeprefix(f"{PICTURES}/") for path in shown}
    for path in folder.glob("*.jpg"):
        if OWN_NAME.fullmatch(path.stem) and path.name not in names:
            path.unlink(missing_ok=True)


def as_json(shown, pictures):
    """The values of a row that the page's script needs.

    Keys and labels are verbatim, names displayable; without content nothing can be decided.
    """
    row = {k: "" if v != v or v is None else v for k, v in shown.row.items()}
    beside = [
        {"name": drawable(name), "picture": pictures.get(name, ""), "told": told}
        for name, told in shown.beside
    ]
    return {
        **{key: drawable(row[key]) for key in ("file", "twin_of")},
        **{key: row[key] for key in ("issue", "label", "suggested", "content")},
        "folder": row["folder"] if row["content"] else "",
        "score": round(float(row["score"]), 4),
        "picture": pictures.get(shown.row["file"], ""),
        "beside": beside,
        "relabel": row["issue"] in LABELLED,
        "once": row["issue"] == "exact_twin",
    }
