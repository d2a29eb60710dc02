import sys
from pathlib import Path

# The archives of the store's unit tests are of use here too.
sys.path.append(str(Path(__file__).parents[1] / "unit/store"))
