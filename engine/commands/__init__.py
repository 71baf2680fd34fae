"""The commands of the program, a module each, named as the command.

A command's Typer function says what it takes and returns an `Output` (`console`), which `engine.cli` alone
prints. Beside the commands: `options` that several take, what a person may name (`selection`), what shows
long work (`progress`), what measures (`measure`), and the parts that two commands share.
"""
