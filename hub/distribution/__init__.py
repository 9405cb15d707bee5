"""What devices may load, signed by The Update Framework (TUF): its keys, its metadata, and the routes that serve both."""
