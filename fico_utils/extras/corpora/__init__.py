"""Corpora from files: published ones, folders of one's own, the authors' release; how they are fetched and checked."""
