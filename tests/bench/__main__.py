"""`make bench`: every benchmark, one after the other."""

from tests.bench import commands, generation, harvest, patching, site, sparse

patching.main()
harvest.main()
generation.main()
commands.main()
sparse.main([])
site.main([])
