"""The research engine: from a spec on disk to a published page."""
