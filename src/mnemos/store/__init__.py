"""Where memory is kept: one protocol, its drivers, and the blobs beside them."""
