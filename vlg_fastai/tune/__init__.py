"""Options of train.py searched with Optuna, and an honest word on whether that gained anything."""
