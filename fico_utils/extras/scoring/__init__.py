"""How other people hold what `evaluate` scores, and the files that other tools read of it."""
