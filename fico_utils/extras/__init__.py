"""What goes beyond the notebooks' main path: the core never imports it, and it enters by name."""
