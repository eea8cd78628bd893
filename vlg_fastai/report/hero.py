"""Say at the top of a run's page what it scored, what to expect, and what to do next."""

from vlg_fastai.model.intervals import interval
from vlg_fastai.predict.run import WORTH_NAMING


def hero(run, held, forecast, found, pairs):
    """{sentence, bands, next} of a run.

    forecast: the `Expected` score of the test; found: {reading: cards on the page}; pairs: most
    confused ones, the first first.
    """
    low, high = interval(held.right, held.groups)
    right = float(held.right.mean())
    bands = [band("validation", right, low, high)]
    sentence = f"{right:.0%} of the held-out photos are predicted correctly"
    if forecast.span:
        bands.append(band("your test photos", *forecast.span))
        value, low, high = forecast.span
        sentence += f"; expect {value:.0%} of the test photos, between {low:.0%} and {high:.0%}"
    steps = [*labels(found), *confused(pairs), after(run, forecast)]
    return {"sentence": f"{sentence}.", "bands": bands, "next": steps}


def band(name, value, low, high):
    "A bar from `low` to `high` with a mark at `value`, in per cent of the full width."
    told = f"{value:.2f} ({low:.2f} to {high:.2f})"
    return {"name": name, "value": 100 * value, "low": 100 * low, "wide": 100 * (high - low),
            "told": told}  # fmt: skip


def labels(found):
    count = found.get("label", 0)
    words = f"Check {count} doubtful label{'s' * (count != 1)} among the worst mistakes"
    return [{"words": words, "href": "#losses", "reading": "label"}] if count else []


def confused(pairs):
    if not pairs:
        return []
    row = pairs[0]
    words = f"See the {row['times']} photos of {row['truth']} predicted as {row['prediction']}"
    if row["times"] == 1:
        words = f"See the photo of {row['truth']} predicted as {row['prediction']}"
    return [{"words": words, "href": "#confusion", "truth": row["truth"],
             "answer": row["prediction"]}]  # fmt: skip


def after(run, forecast):
    "The command that comes next."
    if forecast.unseen > WORTH_NAMING:
        return {"words": "If the test has classes without training photos, name them",
                "command": f"python predict.py --run {run.words} --unseen names.txt"}  # fmt: skip
    return {"words": "Predict the test photos", "command": f"python predict.py --run {run.words}"}
