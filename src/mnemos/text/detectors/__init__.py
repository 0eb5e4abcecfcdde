"""What finds sensitive strings in texts: a detector for each kind. `mnemos.text.sensitivity` uses them."""
