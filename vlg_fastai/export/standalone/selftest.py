"""Check that model.onnx answers here as it did where it was exported: `python selftest.py`."""

import csv
import sys
from pathlib import Path

import numpy as np
from classifier import HERE, Classifier


def main():
    classifier = Classifier()
    with (HERE / "samples.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    tolerance = classifier.facts["tolerance"]
    order = [classifier.labels.index(label) for label in head[1:]]
    expected = np.array([row[1:] for row in rows], float)
    probs, shares = classifier([HERE / Path(row[0]) for row in rows])
    found = probs[:, order]
    largest = float(np.abs(found - expected).max())
    places = np.arange(len(rows))
    lead = expected.max(1) - expected[places, found.argmax(1)]  # 0: the same class
    other = int((lead > tolerance).sum())
    print(f"{len(rows)} samples: {other} other classes, largest difference {largest:.2g}")
    if shares is not None:
        print(f"{int((shares < classifier.facts['unlike']).sum())} look like no class it knows")
    sys.exit(int(other > 0 or largest > tolerance))


if __name__ == "__main__":
    main()
