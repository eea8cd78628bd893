"""Score a submission against the truth: `python -m vlg_fastai.score submission.csv truth.csv`.

For challenges whose truth is known, such as the generated one; no other command reads it.
"""

import csv
import sys
from pathlib import Path

from vlg_fastai.cli import plain_errors
from vlg_fastai.config import UserError
from vlg_fastai.console import say

ASKED = ("Id", "Category")


def score(submission, truth):
    """{subset: accuracy} of all test photos, and of seen, undegraded, degraded and unseen ones.

    truth: CSV with Id, Category, unseen and degraded (0 or 1). A subset without photos has None.
    UserError if the Ids differ.
    """
    rows, facts = _by_id(submission, ASKED), _by_id(truth, (*ASKED, "unseen", "degraded"))
    if rows.keys() != facts.keys():
        odd = sorted(rows.keys() ^ facts.keys())
        raise UserError(f"{submission}: {len(odd)} Ids differ from the truth's, e.g. {odd[0]}")
    hits = [(rows[i]["Category"] == fact["Category"], fact) for i, fact in facts.items()]
    return {
        "all": _share(hits),
        "seen": _share(hits, unseen="0"),
        "seen, undegraded": _share(hits, unseen="0", degraded="0"),
        "seen, degraded": _share(hits, unseen="0", degraded="1"),
        "unseen": _share(hits, unseen="1"),
    }


def _by_id(path, columns):
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lacking = [name for name in columns if rows and name not in rows[0]]
    if lacking or not rows:
        raise UserError(f"{path}: no column {', '.join(lacking)}" if rows else f"{path}: no rows")
    return {row["Id"]: row for row in rows}


def _share(hits, **wanted):
    found = [hit for hit, fact in hits if all(fact[key] == v for key, v in wanted.items())]
    return sum(found) / len(found) if found else None


def main(argv=None):
    given = sys.argv[1:] if argv is None else argv
    with plain_errors():
        if {"-h", "--help"} & set(given):
            say(__doc__)
            return
        if len(given) != 2:
            raise UserError("usage: python -m vlg_fastai.score SUBMISSION.csv TRUTH.csv")
        for name, value in score(*given).items():
            say(f"{name:<17} {'-' if value is None else f'{value:.4f}'}")


if __name__ == "__main__":
    main()
