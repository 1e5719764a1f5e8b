"""What a phone keeps, in a real browser: keys that cannot be handed out, whole changes, and two tabs."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.engines.operated.browser import Browser, browser
from tests.engines.stateful_run import ROOT
from tests.typescript import compiled

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<script type="importmap">{"imports": {
  "@noble/hashes/": "/node_modules/@noble/hashes/",
  "@noble/curves/": "/node_modules/@noble/curves/"}}</script>
<script type="module">
import { IndexedStore } from "/build/src/node/indexed_store.js";
import { deviceIdentity } from "/build/src/node/identity.js";
import { nodeKey } from "/build/src/node/device.js";
import { alone, browserLocks } from "/build/src/node/tabs.js";
const store = new IndexedStore("phone"), locks = browserLocks();
Object.assign(window, { store, deviceIdentity, nodeKey, alone, locks });
window.ready = true;
</script>"""


class _Files(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/page":
            super().do_GET()
            return
        data = PAGE.encode()
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """The compiled files of `web/`, on this machine."""
    handler = functools.partial(_Files, directory=str(ROOT / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/page"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    compiled()
    with served() as at:
        yield at


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Browser]:
    with browser() as made:
        opened(made, address)
        yield made
        assert made.problems == []


def opened(page: Browser, address: str) -> None:
    page.open(address)
    page.wait("window.ready")


def value(page: Browser, script: str) -> Any:
    """What an asynchronous function's body returns in the page; `hex` and `tab` are there for it."""
    page.run(
        """window.found = undefined;
        window.hex = (data) => data && [...data].map((each) => each.toString(16).padStart(2, "0")).join("");
        window.tab = async () => {
          const tab = document.createElement("iframe");
          tab.src = location.href;
          document.body.append(tab);
          while (!tab.contentWindow.ready) await new Promise((resolve) => setTimeout(resolve, 5));
          return tab;
        };
        (async () => {"""
        + script
        + """})().then((value) => { window.found = JSON.stringify({ value }); },
                       (error) => { window.found = JSON.stringify({ error: String(error) }); }); 0"""
    )
    page.wait("window.found !== undefined")
    found = json.loads(page.run("window.found"))
    assert "error" not in found, found
    return found.get("value")


IDENTITIES = """
const key = await nodeKey(store), identity = await deviceIdentity(store);
const signature = await identity.sign(Uint8Array.of(1)), derived = await identity.derive(
  Uint8Array.of(1), 16, new Uint8Array(16));
return [new TextDecoder().decode(key.public), hex(identity.public), hex(signature), hex(derived)];
"""


def test_keys_are_the_same_after_a_page_is_opened_again_and_cannot_be_handed_out(page, address):
    before = value(page, IDENTITIES)
    opened(page, address)
    assert value(page, IDENTITIES) == before
    assert len(before[1]) == 64
    refused = value(
        page,
        """
        const pairs = [await store.key("node"), await store.key("identity")], found = [];
        for (const key of [...pairs.map((pair) => pair.privateKey), await store.key("identity.kept")]) {
          for (const form of ["raw", "pkcs8", "jwk"]) {
            await crypto.subtle.exportKey(form, key).then(() => found.push(form), () => found.push("no"));
          }
        }
        return [found, await store.names("")];""",
    )
    assert refused == [["no"] * 9, []]


def test_a_change_is_whole_or_not_at_all(page):
    found = value(
        page,
        """
        const filled = (n) => new Uint8Array(2 ** 18).fill(n);
        const three = (n) => new Map([..."abc"].map((name) => [`put/${name}`, filled(n)]));
        await store.put(three(1));
        const impossible = new Map([["put/a", Uint8Array.of(9)], ["put/b", () => 0]]);
        const refused = await store.put(impossible).catch(() => "refused");
        const seen = new Set();
        for (let n = 2; n < 22; n++) {
          const other = await tab(), before = (await store.get("put/a"))[0];
          other.contentWindow.store.put(three(n)).catch(() => {});
          await new Promise((resolve) => setTimeout(resolve, n - 2));
          other.remove();  // the tab is closed
          const all = await Promise.all([..."abc"].map(async (name) => (await store.get(`put/${name}`))[0]));
          if (new Set(all).size !== 1 || (all[0] !== before && all[0] !== n)) return all;
          seen.add(all[0] === n);
        }
        await store.put(new Map([["put/a", undefined], ["put/b", undefined]]));
        return [refused, seen.size > 0, await store.names("put/")];""",
    )
    assert found == ["refused", True, ["put/c"]]


def test_a_view_is_kept_alone_and_names_are_sorted(page):
    found = value(
        page,
        """
        const whole = new Uint8Array(1000);
        const none = new Uint8Array(0);
        await store.put(new Map([["view/b", whole.subarray(3, 5)], ["view/a", none], ["vieww", whole]]));
        const length = (await store.get("view/b")).buffer.byteLength;
        return [length, await store.names("view/"), await store.get("view/x")];""",
    )
    assert found == [2, ["view/a", "view/b"], None]


def test_of_two_tabs_one_takes_part_and_the_other_goes_on_when_it_is_closed(page):
    found = value(
        page,
        """
        const said = [], never = new Promise(() => {}), stop = new AbortController();
        const other = await tab(), theirs = other.contentWindow;
        const work = () => (said.push("first"), never);
        theirs.alone(theirs.locks, "x", stop.signal, () => said.push("?"), work);
        while (!said.length) await new Promise((resolve) => setTimeout(resolve, 5));
        const works = async () => said.push("works");
        const told = alone(locks, "x", stop.signal, () => said.push("second"), works);
        const third = new AbortController();
        await alone(locks, "x", third.signal, () => third.abort(), () => never);  // gives up
        const before = said.join();
        other.remove();
        await told;
        return [before, said.join()];""",
    )
    assert found == ["first,second", "first,second,works"]


def test_what_is_erased_is_gone_for_another_tab_too_which_goes_on_with_nothing(page):
    found = value(
        page,
        """
        const other = await tab(), theirs = other.contentWindow.store;
        await theirs.put(new Map([["left", Uint8Array.of(1)]]));
        const frozen = other.contentWindow.indexedDB.open("phone");  // by a tab that does not hear of it
        await new Promise((resolve) => { frozen.onsuccess = resolve; });
        await store.erase();
        frozen.result.close();
        const gone = [await theirs.names(""), await store.names(""), await theirs.key("node") ?? null];
        await theirs.put(new Map([["new", Uint8Array.of(2)]]));
        gone.push(await store.names(""));
        return gone;""",
    )
    assert found == [[], [], None, ["new"]]
