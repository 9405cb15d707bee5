"""Questions in plain English and French: understood by a stated vocabulary, answered by one read-only query that is shown."""
