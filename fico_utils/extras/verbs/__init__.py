"""The verbs of the command line that belong to extras, one module each; found by listing, as `fico_utils.verbs`."""
