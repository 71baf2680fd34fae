"""Papers: a printed publication becomes PDF, HTML, Word and TeX, by pandoc and Typst or by Quarto."""
