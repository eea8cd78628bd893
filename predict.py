"""Predict the test photos: `python predict.py`; see `--help`."""

from vlg_fastai.cli import parse, plain_errors
from vlg_fastai.config import PredictConfig
from vlg_fastai.data.folder import test_of
from vlg_fastai.runs.find import find


def main(argv=None):
    with plain_errors():
        cfg = parse(PredictConfig, argv)
        chosen = find(cfg.runs, cfg.run)
        test = test_of(cfg, chosen[0])
        from vlg_fastai.predict.run import predict  # torch loads here

        predict(cfg, chosen, test)


if __name__ == "__main__":
    main()
