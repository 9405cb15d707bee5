"""Operators: their accounts, how they sign in, API tokens, and who may do what."""
