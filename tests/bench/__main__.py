"""`make bench`: every benchmark, one after the other."""

from tests.bench import acdc, commands, generation, harvest, patching, refusal_audit, site, sparse

patching.main()
acdc.main([])
harvest.main()
generation.main()
commands.main()
sparse.main([])
site.main([])
refusal_audit.main([])
