"""The report in a real browser: read at a glance, by pointer, by keys, on a phone, and saved as a picture."""

import pytest

from hedgerow.experiments.report.page import write_report
from tests.api.known_runs import EIGHT, curve, make
from tests.engines.operated.browser import browser
from tests.engines.operated.phone_page.tab import AXE, Tab, it_fits_and_reads

PLOTS = "[...document.querySelectorAll('.plot')]"
DRAWN = f"{PLOTS}.length && {PLOTS}.every((plot) => plot.querySelector('svg'))"
SHOWN = "[...document.querySelectorAll('.tip')].filter((t) => !t.hidden).map((t) => t.textContent).join()"
END = "document.querySelector('[data-mark=\"1\"] circle:last-child')"
# Read back through the page's own decoder: what was saved is a picture with many colours.
SAVED = """(async () => { const png = await picture('accuracy-bytes_up');
    const image = await createImageBitmap(png), canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
    const data = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
    return {type: png.type, width: image.width, height: image.height, colours: new Set(data).size}; })()"""


@pytest.fixture
def page_file(tmp_path):
    for seed in (1, 2, 3):
        make(tmp_path / f"a-{seed}", curve(0.6, 0.8, 0.8 + seed / 100, up=(900, 900)), seed=seed)
        make(
            tmp_path / f"b-{seed}", curve(0.5, 0.6, 0.805 + seed / 100, up=(500, 500)), seed=seed,
            pipeline=EIGHT,
        )  # fmt: skip
    return write_report(tmp_path / "out", [tmp_path])


@pytest.mark.slow
def test_the_report_is_read_by_eye_pointer_and_keys_on_any_screen_and_saved_as_a_picture(page_file):
    with browser(Tab) as page:
        page.size(1280, 900)
        page.open(f"file://{page_file}")
        page.wait(DRAWN)
        it_says_what_to_choose_on_the_first_screen(page)
        a_pointer_tells_of_the_point_beside_it(page)
        keys_go_from_point_to_point(page)
        a_plot_becomes_a_picture(page)
        if AXE.is_file():
            it_fits_and_reads(page)
        assert page.problems == []


def it_says_what_to_choose_on_the_first_screen(page):
    for text in ("What to choose", EIGHT, "float32()", "They disagree"):
        assert text in page.run("document.body.innerText")
    cards = "[...document.querySelectorAll('.pick')].map((c) => c.getBoundingClientRect().bottom)"
    assert page.run(f"Math.max(...{cards})") < 600
    assert page.run("document.querySelector('.plot svg').getBoundingClientRect().top") < 900


def a_pointer_tells_of_the_point_beside_it(page):
    end = page.run(f"(() => {{ const r = {END}.getBoundingClientRect();"
                   " return [r.x + r.width / 2, r.y + r.height / 2]; })()")  # fmt: skip
    page.move(end[0] + 3, end[1] + 3)
    assert page.run(SHOWN) == f"{EIGHT}3 kB: 82.5 %, 95 % t interval 80.0 % to 85.0 %"
    page.move(1, 1)
    assert page.run(SHOWN) == ""


def keys_go_from_point_to_point(page):
    page.run("document.querySelector('.plot').focus()")
    seen = []
    for key in ("ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowDown"):
        page.press(key)
        seen.append(page.run(SHOWN))
    assert seen[0].startswith("float32()5.4 kB: 82.0 %"), "it begins where the first way ends"
    assert seen[1].startswith("float32()3.6 kB: 80.0 %")
    assert seen[3].startswith(EIGHT)
    page.press("Escape")
    assert page.run(SHOWN) == ""


def a_plot_becomes_a_picture(page):
    found = page.later(SAVED)
    assert found["type"] == "image/png"
    assert (found["width"], found["height"]) == (2000, 2 * (520 + 2 * 20 + 8))
    assert found["colours"] > 20
