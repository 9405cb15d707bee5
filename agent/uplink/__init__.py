"""What the device has to do with its hub: enrolling, syncing, checking in, fetching models; never in the pipeline's way."""
