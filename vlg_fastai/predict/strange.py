"""Report what to expect of classes that only extra photos show: the forecast knows none of them."""

import numpy as np

from vlg_fastai.console import counted, say


def expect(run, view):
    """Report and return {accuracy, interval, classes}: the run's swap test, lowered as much as the
    forecast is on known classes; None for a run without such classes.

    The figures of the swap test are about photos taken like those of training.
    """
    told = run.facts.extra or {}
    strange = told.get("strange")
    if not strange:
        return None
    classes = counted(len(strange), "class", "classes")
    words = f"the forecast counts photos of the {classes} that only extra photos show"
    swap, expected = told.get("swap"), view.forecast
    if not swap or expected is None:
        say(f"{words} as wrong; what they are worth is not known")
        return None
    here = expected.known_here
    kept = np.array([here.value, here.low, here.high]) / max(expected.known_accuracy, 1e-9)
    low, high = swap["accuracy_interval"]
    found = np.clip([swap["accuracy"] * kept[0], low * kept[1], high * kept[2]], 0, 1)
    say(f"{words} as wrong; {found[0]:.2f} of them should be right ({found[1]:.2f} to"
        f" {found[2]:.2f}), by the run's swap test of a probe")  # fmt: skip
    return {"accuracy": found[0], "interval": found[1:].tolist(), "classes": strange}
