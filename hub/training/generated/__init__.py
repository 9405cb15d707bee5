"""Faulty windows that no machine ever had: learned from a few real ones, to judge models by and to train with."""
