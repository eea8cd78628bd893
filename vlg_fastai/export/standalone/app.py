"""A page that classifies photos: `pip install -r requirements.txt && python app.py`."""

import gradio as gr
from classifier import HERE, Classifier

TOP = 5  # classes shown

classifier = Classifier()


def classify(path):
    "({class: probability}, a sentence on how familiar the photo looks)."
    if path is None:
        return {}, ""
    try:
        probs, shares = classifier([path])
    except Exception as error:  # each decoder has errors of its own
        raise gr.Error(f"This file cannot be read as a photo: {error}") from None
    return dict(zip(classifier.labels, map(float, probs[0]), strict=True)), familiar(shares)


def familiar(shares):
    if shares is None:
        return ""
    share, unlike = shares[0], classifier.facts["unlike"]
    if share < unlike:
        return "**Looks like no class it was trained on**; the answer is probably wrong."
    return f"Looks more familiar than {share:.0%} of the photos it was tested on."


app = gr.Interface(
    classify,
    gr.Image(type="filepath", label="Photo", sources=["upload", "clipboard"]),
    [gr.Label(num_top_classes=TOP, label="Answer"), gr.Markdown(label="Familiar?")],
    examples=[str(path) for path in sorted((HERE / "samples").glob("*.jpg"))] or None,
    title=classifier.facts["name"],
    description=f"Knows {len(classifier.labels)} classes. The probabilities are calibrated.",
    flagging_mode="never",
    api_name="classify",
)

if __name__ == "__main__":
    app.launch()
