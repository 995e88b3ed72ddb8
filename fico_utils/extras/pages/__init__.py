"""Pages of HTML about runs: the report of one, and the parts that notebook 06 and the comparison share with it."""
