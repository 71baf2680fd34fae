"""Threads: posts with their numbers injected, as files to be posted and as cards on the site."""
