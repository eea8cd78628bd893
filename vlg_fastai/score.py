"""`python -m vlg_fastai.score SUBMISSION.csv TRUTH.csv`, for challenges whose truth is known."""

from vlg_fastai.demo.score import main

if __name__ == "__main__":
    main()
