"""``python -m ekipl_lab`` is ``ekipl``."""

import sys

from ekipl_lab.cli import main

sys.exit(main())
