"""``python -m ekipl_lab`` is ``ekipl``."""

import sys

from ekipl_lab.commands.cli import main

sys.exit(main())
