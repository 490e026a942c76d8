"""How the image is built and tested. Of it the image itself has `start` alone."""
