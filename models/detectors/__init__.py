"""What judges a window: quality first, then detectors under one contract, calibration, decision."""
