"""Ledgers and templates become Markdown: numbers, claims, charts, tables, citations and the lint."""
