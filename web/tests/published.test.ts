/** Published vectors: RFC 7748, 5869 and 8032, NIST SP 800-38A, and Shamir's scheme; as `test_published_vectors.py`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { agreed, derive, identityKey, keystream, openSealed, publicKey, seal, sign, verify, weakIdentity }
  from "../src/secure/primitives.ts";
import { evaluate, split } from "../src/secure/shamir.ts";
import { bytes, hex } from "./support.ts";
import { stream } from "./masked_round.ts";

const ALICE = bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
const BOB = bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");

test("X25519 of RFC 7748, section 6.1", () => {
  assert.equal(hex(publicKey(ALICE)), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  assert.equal(hex(publicKey(BOB)), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  for (const [one, other] of [[ALICE, BOB], [BOB, ALICE]]) {
    const shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    assert.equal(hex(agreed(one, publicKey(other))), shared);
  }
});

test("X25519 refuses keys of low order", () => {
  for (const low of ["00".repeat(32), `01${"00".repeat(31)}`]) {
    assert.throws(() => agreed(ALICE, bytes(low)), { why: "KeysChanged" });
  }
});

test("HKDF of RFC 5869, cases 1 and 3", () => {
  const secret = bytes("0b".repeat(22));
  const one = derive(secret, bytes("f0f1f2f3f4f5f6f7f8f9"), 42, bytes("000102030405060708090a0b0c"));
  const first = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
  assert.equal(hex(one), first);
  const three = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8";
  for (const salt of [bytes(""), undefined]) assert.equal(hex(derive(secret, bytes(""), 42, salt)), three);
});

test("Ed25519 of RFC 8032, section 7.1, tests 1 and 2", () => {
  for (const [secret, key, message, signature] of [
    ["9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        + "655141438e7a100b"],
    ["4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
      "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        + "b00d291612bb0c00"],
  ]) {
    assert.equal(hex(identityKey(bytes(secret))), key);
    assert.equal(hex(sign(bytes(secret), bytes(message))), signature);
    verify(bytes(key), bytes(signature), bytes(message), "a");
    assert.throws(() => verify(bytes(key), bytes(signature), bytes("00"), "a"), { why: "BadSignature" });
    assert.throws(() => verify(bytes(key), bytes(signature.slice(2)), bytes(message), "a"), { why: "BadSignature" });
  }
});

test("anybody could sign for a weak key, and it is told from others", () => {
  const eighth = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
  for (const weak of ["00".repeat(32), `01${"00".repeat(31)}`, "ff".repeat(32), eighth]) {
    assert.ok(weakIdentity(bytes(weak)), weak);
    assert.throws(() => verify(bytes(weak), bytes("00".repeat(64)), bytes(""), "a"), { why: "BadSignature" });
  }
  assert.ok(!weakIdentity(identityKey(ALICE)));
});

test("AES in counter mode of NIST SP 800-38A, F.5.1", async () => {
  const key = bytes("2b7e151628aed2a6abf7158809cf4f3c"), start = bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  const made = await keystream(key, 64, start);
  const plain = bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    + "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
  assert.equal(hex(made.map((byte, i) => byte ^ plain[i])), "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187b"
    + "b9fffdff5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee");
});

test("what is sealed opens only with its key and what it is bound to", async () => {
  const key = bytes("00".repeat(16)), round = bytes("01"), sealed = await seal(key, bytes("616263"), round);
  assert.equal(hex(await openSealed(key, sealed, round, "a")), "616263");
  const changed = sealed.map((byte, i) => (i === 0 ? byte ^ 1 : byte));
  for (const [with_, data, bound] of [
    [bytes("01".repeat(16)), sealed, round], [key, changed, round], [key, sealed, bytes("02")], [key, bytes(""), round],
  ]) {
    await assert.rejects(openSealed(with_, data, bound, "a"), { why: "BadShare" });
  }
});

test("Shamir's scheme: the published example, and shares of 32 bytes that are what they were", () => {
  // Of the article in Wikipedia: 1234 + 166 x + 94 x^2 modulo 1613.
  assert.deepEqual([1, 2, 3, 4, 5, 6].map((x) => evaluate([1234n, 166n, 94n], x, 1613n)),
    [1494n, 329n, 965n, 176n, 1188n, 775n]);
  const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
  assert.deepEqual(split(secret, [1, 2, 7], 2, stream("shamir")).map(hex), [
    "0085ca586f5bb961d4c8143f481d556c678296444d03be4a46ed6e07614781d22b",
    "000b93aedbb36dbda2881f74852e9dcabff51b7686f3677e76c2c2f4a772e6850e",
    "00a8825ef969f388a748577eb68507a27a31b571a8a1b58365ed6b97064bde06f8",
  ]);
  for (const [places, threshold] of [[[0, 1], 1], [[1, 1], 1], [[1, 2], 3], [[1, 2], 0]] as const) {
    assert.throws(() => split(secret, places, threshold, stream("x")), RangeError);
  }
});
