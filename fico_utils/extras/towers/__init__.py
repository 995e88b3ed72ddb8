"""Pretrained towers: one network that knows pictures and one that knows words, each in a folder of its own."""
