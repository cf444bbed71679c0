"""`python -m edge` is `broker-edge`."""

import sys

from edge.main import main

sys.exit(main())
