"""Golden cases of extras."""
