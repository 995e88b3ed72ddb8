"""The verbs of the command line, one module each; `fico_utils.cli` finds them by listing this folder."""
