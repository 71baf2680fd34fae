"""`make bench`: every benchmark, one after the other."""

from tests.bench import commands, patching

patching.main()
commands.main()
