"""What a phone's owner adds: each kind with values of 64 random bits, and in which forms to look for them."""

import base64
import json
import math
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.engines.operated.canaries import Canaries, encoded, of_text, of_values
from tests.engines.operated.devices import table
from tests.engines.operated.phone_page.tab import Tab
from tests.typescript import compiled, node

Forms = dict[str, bytes]

SIDE, INSTANTS, LENGTH = 28, 60, 10
CHANNELS = (0, 4)
"""Of a movement, in which canaries are looked for: one of acceleration and one of rotation."""

CLASSES = [f"{each}-{secrets.token_hex(8)}" for each in ("no", "yes")]
"""Labels whose 64 bits only their server may send."""

DATA = {
    "clinics": (
        'columns = ["age", "pressure"]\nlabel = "sick"\nclasses = ["no", "yes"]\nshift = [50.0, 120.0]\n'
        "scale = [10.0, 20.0]"
    ),
    "digits": (
        f"shape = [1, {SIDE}, {SIDE}]\nclasses = {json.dumps(CLASSES)}\nlowest = [0.0]\nhighest = [1.0]"
    ),
    "moves": f"shape = [6, {LENGTH}]\nclasses = {json.dumps(CLASSES)}",
}
"""Of each run's recipe."""

KEPT = """(async () => {
  const done = (asked) => new Promise((took) => { asked.onsuccess = () => took(asked.result); });
  const open = await done(indexedDB.open("hedgerow")), range = IDBKeyRange.bound("data/", "data/\\uffff");
  const all = await done(open.transaction("bytes").objectStore("bytes").getAll(range));
  open.close();
  return all.map((bytes) => btoa(String.fromCharCode(...bytes)));
})()"""


def kept(page: Tab) -> list[bytes]:
    """The owner's entries, as the browser keeps them."""
    return [base64.b64decode(each) for each in page.later(KEPT)]


def entries(page: Tab) -> Iterator[tuple[dict, bytes]]:
    """What each of them says in words, and its numbers or file."""
    for data in kept(page):
        size = int.from_bytes(data[:4], "little")
        yield json.loads(data[4 : 4 + size]), data[4 + size :]


def clinics(page: Tab, folder: Path) -> Forms:
    """A table is picked."""
    canaries = Canaries(f"patients-{secrets.token_hex(8)}", secrets.SystemRandom())
    file = table(folder / f"{canaries.folder}.csv", 0, canaries.row)
    page.pick(file)
    page.waits_for(file.name)
    return canaries.forms()


def digits(page: Tab, folder: Path) -> Forms:
    """Two drawings are made, with a label each, and two pictures are picked."""
    drawn, pixels = secrets.SystemRandom(), np.frombuffer(secrets.token_bytes(2 * SIDE * SIDE), np.uint8)
    for label in CLASSES:
        page.click(label)
        page.draw(*((drawn.uniform(0.1, 0.9), drawn.uniform(0.1, 0.9)) for _ in range(12)))
        page.click("Keep")
        page.wait(f"document.querySelector('.entries')?.textContent.includes('Drawing of {label}')")
    found = of_the_drawings(page)
    page.click("Pick pictures")
    for place, (label, picture) in enumerate(zip(CLASSES, pixels.reshape(2, SIDE, SIDE), strict=True)):
        file = folder / f"picture-{secrets.token_hex(8)}.png"
        Image.fromarray(picture).save(file)
        page.click(label)
        page.pick(file)
        page.waits_for(file.name)
        found |= of_text(f"name of picture {place}", file.stem)
        found |= of_pixels(f"picture {place}", picture[0, :8])
        found |= encoded(f"file of picture {place}", file.read_bytes()[100:116])
    return found


def of_the_drawings(page: Tab) -> Forms:
    """Points of the pen as they are kept, and the pixels in a row that have the most shades of grey."""
    compiled()
    found: Forms = {}
    for place, (told, body) in enumerate(entries(page)):
        found |= encoded(f"points of drawing {place}", body[8:24])
        ends, points = np.cumsum(told["lengths"])[:-1], np.frombuffer(body, "<f4")
        strokes = [stroke.tolist() for stroke in np.split(points, ends)]
        drawn = bytes.fromhex(node("drawn", json.dumps(strokes), str(SIDE), str(SIDE)))
        pixels = np.frombuffer(drawn, np.uint8)
        runs = np.lib.stride_tricks.sliding_window_view(pixels, 16)
        shades = [len({*run.tolist()} - {0, 255}) for run in runs]
        assert max(shades) >= 6
        found |= of_pixels(f"drawing {place}", runs[int(np.argmax(shades))])
    return found


def of_pixels(name: str, pixels: NDArray[np.uint8]) -> Forms:
    """As they are, and as what a model is given."""
    return encoded(f"pixels of {name}", pixels.tobytes()) | of_run(f"pixels of {name}", pixels / 255)


def of_run(name: str, values: NDArray[np.float64]) -> Forms:
    """Numbers beside one another, none of which by itself has 64 bits."""
    return encoded(f"{name} as float32", values.astype("<f4").tobytes()) | encoded(
        f"{name} as float64", values.astype("<f8").tobytes()
    )


def moves(page: Tab, folder: Path) -> Forms:
    """The browser tells of a movement, as of its sensors, with a label."""
    drawn = secrets.SystemRandom()
    given = np.array([[drawn.uniform(-20, 20) for _ in range(6)] for _ in range(INSTANTS)])
    page.click(CLASSES[0])
    page.click("Start")
    page.run(f"({SENSED})({json.dumps(given.tolist())})")
    page.click("Stop and keep")
    page.waits_for(f"Movement: {CLASSES[0]}")
    scaled, found = np.where(np.arange(6) < 3, given / 9.80665, given * math.pi / 180), Forms()
    for channel in CHANNELS:
        found |= of_values(f"channel {channel}", scaled[:2, channel])
        found |= of_values(f"channel {channel} as told", given[:2, channel])
        found |= of_text(f"channel {channel} as text", repr(given[0, channel])[:-2])
    return found


SENSED = """(told) => told.forEach(([x, y, z, alpha, beta, gamma], i) => {
  const event = new DeviceMotionEvent("devicemotion", {
    accelerationIncludingGravity: { x, y, z }, rotationRate: { alpha, beta, gamma }, interval: 20,
  });
  Object.defineProperty(event, "timeStamp", { value: 1000 + 20 * i });
  dispatchEvent(event);
})"""
