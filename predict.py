"""Predict the test photos: `python predict.py`; see `--help`."""

from vlg_fastai.commands import predict as main

if __name__ == "__main__":
    main()
