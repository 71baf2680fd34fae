"""Ledgers and rendered reports become plain Markdown under site/, and site/ becomes public/."""
