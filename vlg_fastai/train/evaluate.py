"""Calibrate and score a candidate, and write it to a run folder."""

import dataclasses

import pandas as pd

from vlg_fastai.model import bundle, inference, scores
from vlg_fastai.model.intervals import interval
from vlg_fastai.model.metrics import LOW, figure
from vlg_fastai.runs.facts import Facts
from vlg_fastai.runs.files import write_csv
from vlg_fastai.runs.landing import together
from vlg_fastai.runs.run import VALID


def finish(run, prepared, kept, known):
    "Write the candidate `kept` to the folder of `run`; return its Facts, including `known`."
    with together(run.path) as folder:
        bundle.save(folder, kept.model)
        spec, figures = evaluate(folder, prepared, kept)
        more = {"extra": prepared.extra.told} if prepared.extra else {}
        facts = Facts(**{**known, **more}, model=kept.name, **spec.facts(), **figures)
        facts.write(folder)
    return facts


def evaluate(folder, prepared, kept):
    "Write valid.csv; return (spec with head and temperature, figures) of the selected candidate."
    held, z = prepared.held, kept.logits
    y = prepared.labels[held]
    temperature = kept.temperature or inference.fit_temperature(z, y)
    write_predictions(folder / VALID, prepared, z, temperature, held)
    before, after = (inference.probabilities(z, t) for t in (1.0, temperature))
    figures = scores.summary(before, after, y, prepared.spec.classes)
    likely = interval(after.argmax(1) == y, prepared.groups[held])
    photos = prepared.table["split"].value_counts().to_dict()
    spec = dataclasses.replace(
        prepared.spec, head=kept.head, members=kept.members, temperature=temperature
    )
    told = {"metric": named(prepared.cfg.metric, after, y)}
    return spec, {**figures, **told, "accuracy_interval": likely, "photos": photos}


def named(metric, probs, y):
    "The deciding metric as stored in facts.json; None if it is the NLL, or without photos."
    if metric in LOW or not len(y):
        return None
    return {"name": metric, "value": figure(metric, probs, y)}


def write_predictions(path, prepared, z, temperature, rows=slice(None)):
    "Write file, label and one calibrated probability per class for `rows` of the table."
    probs = inference.probabilities(z, temperature)
    table = prepared.table.loc[rows, ["file", "label"]]
    answers = pd.DataFrame(probs, columns=prepared.spec.classes, index=table.index)
    write_csv(path, pd.concat([table, answers], axis=1))
