"""Compare finished runs on the photos they all held out: `python compare.py`; see `--help`."""

from vlg_fastai.cli import parse, plain_errors
from vlg_fastai.config import CompareConfig
from vlg_fastai.runs.find import finished


def main(argv=None):
    with plain_errors():
        cfg = parse(CompareConfig, argv)
        chosen, reference = finished(cfg.runs, cfg.run, cfg.against)
        from vlg_fastai.compare.run import compare  # pandas and scipy load here

        compare(cfg, chosen, reference)


if __name__ == "__main__":
    main()
