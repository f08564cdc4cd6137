"""What tests of the viewer read of its answers."""


def said(response):
    """The one line of a refusal."""
    line = response.json()["error"]
    assert "\n" not in line
    assert "Traceback" not in line
    return line
