"""`make bench`: every benchmark, one after the other."""

from tests.bench import commands, harvest, patching

patching.main()
harvest.main()
commands.main()
