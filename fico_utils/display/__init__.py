"""How it is shown: the paper's tables and figures from the two tidy tables; no torch, no models."""
