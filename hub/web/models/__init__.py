"""Models and how they came about: cards, versions, lineage, runs."""
