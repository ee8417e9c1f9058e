"""Child of test_files: another program that has a project open until its input ends.

python hold_project.py PROJECT
"""

import sys
from pathlib import Path

from unet_core.project import Project

with Project.open(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
