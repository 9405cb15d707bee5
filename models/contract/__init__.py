"""What device and hub agree on: readings, items, envelopes, check-ins, profiles, frames. They meet only as these bytes."""
