"""Models that come from elsewhere: any int8 TFLite model that rebuilds its input or gives a score becomes a bundle."""
