"""QR codes: in a terminal, and as a picture for the status page."""

import io

import segno


def as_text(address: str) -> str:
    """A code of half blocks, as it should be on a dark terminal; cameras read it on a light one too.

    >>> len(as_text("https://fl.example/phone/").splitlines())
    15
    """
    out = io.StringIO()
    _code(address).terminal(out, border=2, compact=True)
    return out.getvalue().rstrip("\n")


def as_svg(address: str) -> bytes:
    """A code as an SVG document, without any script or style, dark on white."""
    out = io.BytesIO()
    _code(address).save(
        out, kind="svg", border=4, light="#fff", omitsize=True, xmldecl=False, nl=False, svgclass=None,
        lineclass=None,
    )  # fmt: skip
    return out.getvalue()


def _code(address: str) -> segno.QRCode:
    return segno.make(address, error="l", boost_error=False, micro=False)
