"""`python -m idolctl`."""

import sys

from idolctl.app import main

sys.exit(main())
