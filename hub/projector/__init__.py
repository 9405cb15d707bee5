"""Tables that people and gates look at, kept up to date from the ingest log."""
