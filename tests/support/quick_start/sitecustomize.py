"""Start Python processes of the tests faster; Python imports this module as it starts.

Importing Keras takes 2 CPU seconds in place of 4: no garbage is searched for, and the libraries
that Keras and TensorFlow import where they are installed are hidden. Only for scripts that use none
of them.
"""

import gc
import os
import sys

HIDDEN = {"jax", "matplotlib", "pandas", "sklearn"} - {os.environ.get("QUICK_START_KEEPS")}

gc.disable()
sys.modules.update(dict.fromkeys(HIDDEN))
