"""What makes the image start quickly: stand-ins for modules that it does not use, and the others in one file."""
