"""What one check found in, rows of issues.csv out: the same columns for all."""

import pandas as pd

COLUMNS = ["file", "issue", "label", "suggested", "score", "twin_of"]
ORDER = (  # of the sections of page and table; what needs a decision most comes first
    "doubtful_label", "cross_class_twin", "train_test_twin", "exact_twin", "near_twin",
    "mirrored_twin", "review_twin", "broken", "odd", "nuisance", "shift",
)  # fmt: skip
WORDS = {
    "doubtful_label": "models that never saw the photo call it something else",
    "cross_class_twin": "the same photo in two class folders",
    "train_test_twin": "a test photo that is in training as well",
    "exact_twin": "the same file twice",
    "near_twin": "the same photo, re-encoded, resized or retouched",
    "mirrored_twin": "the mirror image of another photo",
    "review_twin": "much alike: the same photo, or the same animal",
    "broken": "cannot be read",
    "odd": "blurred, dark, tiny, very long, or nearly one colour",
    "nuisance": "the label can be told from brightness, size, aspect or file type",
    "shift": "test photos that are most surely told from training photos",
}


def table(issue, rows):
    "`rows` of dicts with any of `COLUMNS`, as a table of one `issue`, worst (highest score) first."
    made = pd.DataFrame(rows, columns=COLUMNS).assign(issue=issue)
    made = made.astype({name: object for name in COLUMNS if name != "score"})
    made = made.assign(score=made["score"].astype(float))
    return made.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def joined(tables):
    "All tables as one, in the order of `ORDER`."
    every = pd.concat(tables, ignore_index=True)
    rank = every["issue"].map({name: i for i, name in enumerate(ORDER)})
    return every.loc[rank.sort_values(kind="stable").index].reset_index(drop=True)
