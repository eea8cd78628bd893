"""Draw what a run gets wrong: `python interpret.py --top-losses`; see `--help`."""

from vlg_fastai.cli import parse, plain_errors
from vlg_fastai.config import InterpretConfig
from vlg_fastai.runs.find import find


def main(argv=None):
    with plain_errors():
        cfg = parse(InterpretConfig, argv)
        chosen = find(cfg.runs, cfg.run)
        from vlg_fastai.report.interpret import interpret  # pandas and matplotlib load here

        interpret(cfg, chosen)


if __name__ == "__main__":
    main()
