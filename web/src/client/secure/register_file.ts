/** The register of identity keys as a text: `name = "64 hex digits"` in each line, as TOML writes it. */

import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { Refused } from "../../secure/errors.ts";
import { weakIdentity } from "../../secure/primitives.ts";
import type { Bytes } from "../../types.ts";

const NAME = /(?:([A-Za-z0-9_-]+)|"((?:[^"\\]|\\.)*)"|'([^']*)')/u, KEY = /(?:"([^"\\]*)"|'([^']*)')/u;
const LINE = new RegExp(`^[ \\t]*${NAME.source}[ \\t]*=[ \\t]*${KEY.source}[ \\t]*(#.*)?$`, "u");
const EMPTY = /^[ \t]*(#.*)?$/u;
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/u;
const ESCAPED = /\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/gsu;
const SHORT: Readonly<Record<string, string>> = {
  b: "\b", t: "\t", n: "\n", f: "\f", r: "\r", '"': '"', "\\": "\\",
};

/**
 * Public keys by name, a different one for each client. Throws `Malformed` for all but lines of names and keys, empty
 * lines and comments: of TOML, a register has no more.
 */
export function parseRegister(text: string): Map<string, Bytes> {
  const keys = new Map<string, Bytes>(), owners = new Map<string, string>();
  text.split(/\r?\n/).forEach((line, i) => {
    const found = LINE.exec(line);
    if (CONTROL.test(line) || (!found && !EMPTY.test(line))) {
      throw malformed(`it is not a register: line ${i + 1} is not name = "64 hex digits"`);
    }
    if (!found) return;
    const name = found[1] ?? (found[2] === undefined ? found[3] : unescaped(found[2])), said = found[4] ?? found[5];
    if (keys.has(name)) throw malformed(`it is not a register: '${name}' is there twice`);
    const key = keyOf(name, said), owner = owners.get(bytesToHex(key));
    if (owner !== undefined) {
      throw malformed(`'${owner}' and '${name}' have the same key; each device must have its own`);
    }
    keys.set(name, key);
    owners.set(bytesToHex(key), name);
  });
  return keys;
}

function keyOf(name: string, said: string): Bytes {
  if (!/^[0-9a-fA-F]{64}$/.test(said)) throw malformed(`the key of '${name}' is '${said}'; it must be 64 hex digits`);
  const key = hexToBytes(said) as Bytes;
  if (weakIdentity(key)) {
    throw malformed(`the key of '${name}' is '${said}', for which anybody can sign; no device makes such a key`);
  }
  return key;
}

function unescaped(text: string): string {
  return text.replace(ESCAPED, (whole, short: string | undefined, long: string | undefined, letter: string) => {
    const code = parseInt(short ?? long ?? "", 16);
    if (short === undefined && long === undefined) {
      if (letter in SHORT) return SHORT[letter];
    } else if (code <= 0x10ffff && (code < 0xd800 || code > 0xdfff)) return String.fromCodePoint(code);
    throw malformed(`it is not a register: a name has '${whole}'`);
  });
}

function malformed(text: string): Refused {
  return new Refused("Malformed", text);
}
