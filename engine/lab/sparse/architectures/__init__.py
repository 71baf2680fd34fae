"""A file for each architecture: how latents are selected in training and at inference, saved and loaded."""
