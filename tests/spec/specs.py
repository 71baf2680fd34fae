"""The beginnings of specs that tests spoil: one experiment of a lens, one of a coder."""

HEAD = "title: A title\nquestion: A question?\nmodels: [m, n]\n"
LENS = HEAD + "experiments:\n  a:\n    family: lens\n"
CODER = HEAD + "experiments:\n  a:\n    family: coder\n"
