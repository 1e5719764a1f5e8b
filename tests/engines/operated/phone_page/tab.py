"""A tab of Chromium with the page for phones: hands, a network that can be cut, and axe-core."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.operated.browser import Browser

WEB = Path(__file__).parents[4] / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"

KEYS = {
    "Tab": 9, "Enter": 13, "Escape": 27, " ": 32,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip
TEXT = {"Enter": "\r", " ": " "}


class Tab(Browser):
    """One page for phones."""

    def __init__(self, write: int, read: int) -> None:
        super().__init__(write, read)
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)

    def cleared(self, origin: str) -> None:
        """Erase what the browser keeps for an origin, as its owner may."""
        self._call("Storage.clearDataForOrigin", origin=origin, storageTypes="all")

    def waits_for(self, text: str, seconds: float = 60.0) -> None:
        """Wait until the page says this, with its status and alerts."""
        self.wait(f"document.body?.innerText.includes({json.dumps(text)})", seconds)

    def press(self, *keys: str) -> None:
        for key in keys:
            for kind in ("keyDown", "keyUp"):
                text = {"text": TEXT[key]} if key in TEXT and kind == "keyDown" else {}
                self._call(
                    "Input.dispatchKeyEvent", type=kind, key=key, code="Space" if key == " " else key,
                    windowsVirtualKeyCode=KEYS[key], **text,
                )  # fmt: skip

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def tab_to(self, name: str, most: int = 60) -> None:
        """Press Tab until what is focused has this name for a person; it must then be seen to be focused."""
        seen = []
        for _ in range(most):
            self.press("Tab")
            seen.append(self.run(NAME_OF_FOCUSED))
            if name in seen[-1]:
                assert self.run(FOCUS_IS_SEEN), f"{name} has the focus, and nothing shows it"
                return
        raise AssertionError(f"{name} cannot be reached by Tab: {seen}")

    def click(self, name: str) -> None:
        """Press the button, or choose the label, of this name."""
        found = self.run(
            f"(() => {{ const name = {json.dumps(name)};"
            " const all = document.querySelectorAll('button, label, summary');"
            " const one = [...all].find((e) => e.checkVisibility()"
            " && (e.textContent.trim() === name || e.ariaLabel === name)); if (!one) return false;"
            " one.scrollIntoView({block: 'center'}); one.click(); return true; })()"
        )
        assert found, f"there is no {name!r}: {self.run('document.body.innerText')}"

    def draw(self, *points: tuple[float, float]) -> None:
        """A line by the mouse on the canvas, from 0 to 1."""
        self.run("document.querySelector('canvas.drawing').scrollIntoView({block: 'center'})")
        box = self.run("(() => { const b = document.querySelector('canvas.drawing').getBoundingClientRect();"
                       " return [b.left, b.top, b.width, b.height]; })()")  # fmt: skip
        for place, (x, y) in enumerate([*points, points[-1]]):
            kind = "mousePressed" if place == 0 else "mouseReleased" if place == len(points) else "mouseMoved"
            self._call(
                "Input.dispatchMouseEvent", type=kind, x=box[0] + x * box[2], y=box[1] + y * box[3],
                button="left", buttons=1, clickCount=1,
            )  # fmt: skip

    def pick(self, *files: Path) -> None:
        """Give files to the file field."""
        document = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=document, selector="input[type=file]")["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def later(self, script: str) -> Any:
        """The value of a promise."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def violations(self) -> list[str]:
        """What axe-core finds wrong; the protocol puts it in, as the page lets no other script in."""
        self.run(f"{AXE.read_text()}\n;0")
        found = self.later(
            "axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations.flatMap((v) =>"
            " v.nodes.map((n) => v.id + ': ' + n.html + ' ' + n.failureSummary)))"
        )
        return [str(each) for each in found]

    @contextmanager
    def other_tab(self) -> Iterator[None]:
        """Another tab of the same browser, which is closed afterwards."""
        mine, self._session = self._session, None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        try:
            yield
        finally:
            self._session = None
            self._call("Target.closeTarget", targetId=target)
            self._session = mine

    def look(self, folder: Path | None, name: str) -> None:
        """Keep pictures in three sizes, where they are wanted."""
        if folder is None:
            return
        for kind, (width, dark) in {"320": (320, False), "dark": (390, True), "desk": (1100, False)}.items():
            self.size(width, 844, dark=dark)
            time.sleep(0.2)
            self.picture(folder / f"{name}-{kind}.png", whole=True)
        self.size(390, 844)


NAME_OF_FOCUSED = """(() => { const e = document.activeElement; if (e === document.body) return '';
    return (e.ariaLabel || e.textContent || e.labels?.[0]?.textContent || '').trim(); })()"""
FOCUS_IS_SEEN = """(() => { const e = document.activeElement, of = (o) => getComputedStyle(o);
    const marks = [e, e.nextElementSibling].filter((o) => o).map(of);
    return marks.some((s) => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2); })()"""
TEXTS = """[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility()
    && !e.closest('.hidden') && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))"""


def it_fits_and_reads(page: Tab) -> None:
    """At 320 pixels nothing is wider than the screen and no text small; axe is content, in the dark too."""
    for dark in (False, True):
        page.size(320, 640, dark=dark)
        assert page.run("document.documentElement.scrollWidth") == 320
        assert page.run(f"Math.max(...{TEXTS}.map((e) => e.getBoundingClientRect().right))") <= 320
        assert page.run(f"Math.min(...{TEXTS}.map((e) => parseFloat(getComputedStyle(e).fontSize)))") >= 12
        assert page.violations() == []
    page.size(390, 844)
