"""From the lake to a bundle: a pinned dataset, a network, its int8 export, an evaluation that may refuse it, a card."""
