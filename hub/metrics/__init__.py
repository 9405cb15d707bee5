"""What the hub tells Prometheus about itself and its fleet."""
