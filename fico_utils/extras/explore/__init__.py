"""The explorer, where people look instead of read: a page that searches in a browser, and the parts of notebook 09."""
