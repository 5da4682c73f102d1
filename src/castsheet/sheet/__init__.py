"""Elements in, one image and its manifest out. numpy and Pillow only."""
