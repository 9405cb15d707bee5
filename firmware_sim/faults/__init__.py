"""What goes wrong, one fault a file: the sensor's and the line's here, the machine's in its asset's physics."""
