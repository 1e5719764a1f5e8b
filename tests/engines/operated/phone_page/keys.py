"""A phone whose keys are known to a test: its worker makes them as ever, and tells it their secrets."""

import base64
import json

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_private_key

from tests.engines.operated.phone_page.workers import WorkerTab

KNOWN = """(() => {
  const made = self.madeForTest = [], { subtle } = crypto;
  const tell = (kind, raw) => made.push([kind, btoa(String.fromCharCode(...new Uint8Array(raw)))]);
  const [make, random] = [subtle.generateKey.bind(subtle), crypto.getRandomValues.bind(crypto)];
  subtle.generateKey = async (kind, extractable, uses) => {
    const made = await make(kind, true, uses), { privateKey: secret = made, publicKey } = made;
    const form = publicKey ? "pkcs8" : "raw", raw = await subtle.exportKey(form, secret);
    tell(form, raw);
    const kept = await subtle.importKey(form, raw, kind, extractable, secret.usages);
    return publicKey ? { privateKey: kept, publicKey } : kept;
  };
  crypto.getRandomValues = (into) => {
    random(into);
    if (into.byteLength >= 16) tell("raw", into.slice().buffer);
    return into;
  };
})()"""
"""Runs in the worker before its own script. What is made is as the page wants it, such as not extractable."""


class KeyTab(WorkerTab):
    """One page for phones, of whose worker the secrets can be asked for."""

    before = KNOWN

    def secrets(self) -> dict[str, bytes]:
        """Secrets of keys, and other random values of 128 bits or more, that the worker has made so far."""
        found = dict[str, bytes]()
        for told in self.in_workers("JSON.stringify(self.madeForTest)"):
            for place, (form, text) in enumerate(json.loads(told)):
                found[f"{form} {place}"] = secret_of(form, base64.b64decode(text))
        return found


def secret_of(form: str, data: bytes) -> bytes:
    """Without the public half, which a phone sends."""
    if form != "pkcs8":
        return data
    key = load_der_private_key(data, None)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes(48, "big")
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.private_bytes_raw()
