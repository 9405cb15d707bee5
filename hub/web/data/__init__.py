"""The data: lake, completeness, quality, drift, catalogue, audit log."""
