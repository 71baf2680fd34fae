"""`make bench`: every benchmark, one after the other."""

from tests.bench import commands, harvest, patching, site, sparse

patching.main()
harvest.main()
commands.main()
sparse.main([])
site.main([])
