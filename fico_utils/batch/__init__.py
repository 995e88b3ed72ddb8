"""Runs the notebooks as steps: knows files and parameters, and nothing about retrieval."""
