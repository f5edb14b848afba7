"""The check of an error: its type, one line, and the names and values that the line must mention."""

import pytest


def one_line(call, kind, *names) -> Exception:
    """The error of type ``kind`` that ``call()`` raises; its text is one line that contains all ``names``."""
    with pytest.raises(kind) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    missing = [name for name in names if str(name) not in text]
    assert not missing, f"{missing} not in {text!r}"
    return error.value
