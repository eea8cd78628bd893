"""Turn the findings of a check into rows of issues.csv, with the same columns for all checks."""

import pandas as pd

COLUMNS = ["file", "issue", "label", "suggested", "score", "twin_of"]
ORDER = (  # of sections on the page and in the table; those that most need a decision first
    "doubtful_label", "cross_class_twin", "train_test_twin", "exact_twin", "near_twin",
    "mirrored_twin", "review_twin", "broken", "odd", "nuisance", "shift",
)  # fmt: skip
NOISY = ("review_twin", "odd", "nuisance", "shift")  # mostly fine: folded on the page
WORDS = {
    "doubtful_label": "models that never saw the photo predict another class",
    "cross_class_twin": "the same photo in two class folders",
    "train_test_twin": "a test photo that is also in training",
    "exact_twin": "the same file twice",
    "near_twin": "the same photo, re-encoded, resized or retouched",
    "mirrored_twin": "the mirror image of another photo",
    "review_twin": "very similar: the same photo, or the same animal",
    "broken": "cannot be read",
    "odd": "blurred, dark, tiny, very long, or nearly one colour",
    "nuisance": "brightness, size, aspect or file type alone predicts the label",
    "shift": "test photos that are easiest to tell from training photos",
}


def table(issue, rows):
    "A table of one `issue` from dicts `rows` with any of `COLUMNS`, worst (highest score) first."
    made = pd.DataFrame(rows, columns=COLUMNS).assign(issue=issue)
    made = made.astype({name: object for name in COLUMNS if name != "score"})
    made = made.assign(score=made["score"].astype(float))
    return made.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def joined(tables):
    "All tables as one, in the order of `ORDER`."
    every = pd.concat(tables, ignore_index=True)
    rank = every["issue"].map({name: i for i, name in enumerate(ORDER)})
    return every.loc[rank.sort_values(kind="stable").index].reset_index(drop=True)
