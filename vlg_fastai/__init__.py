"""Rapid, honest experiments on image folders with fastai."""

__version__ = "0.1.0"
