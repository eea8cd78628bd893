"""Export a run as ONNX with preprocessing, card and app: `python export.py`; see `--help`."""

from vlg_fastai.commands import export as main

if __name__ == "__main__":
    main()
