"""Who the devices are, and what each of them says and should hold."""
