"""From sealed envelopes to the durable log: verify, decode, account, acknowledge."""
