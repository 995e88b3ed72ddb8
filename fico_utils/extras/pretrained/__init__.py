"""Pretrained encoders of images and captions, as systems beside those that this package trains."""
