"""What tests of the compiled kernels have in common: they skip, loudly, where these were not built."""

import pytest

from jaxvision.kernels import native

built = pytest.mark.skipif(native.library() is None, reason="the compiled kernels were NOT built (no C++ compiler?): they are NOT tested")
