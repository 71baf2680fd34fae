"""`make bench`: every benchmark, one after the other."""

from tests.bench import commands, patching, sparse

patching.main()
commands.main()
sparse.main([])
