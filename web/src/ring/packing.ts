/** Compact encodings of integers: k-bit codes, and sorted positions, as in `hedgerow.ring.packing`. */

import { type Bytes, PayloadError } from "../types.ts";

export type Codes = Bytes | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

const BITMAP = 255, MOST_RICE = 31;

/** Bytes that `count` codes of `bits` bits take. */
export function packedBytes(count: number, bits: number): number {
  return Math.ceil((count * bits) / 8);
}

/** Pack codes of 0 to 32 bits each, without gaps; above 8 bits, all low bytes come before the remaining bits. */
export function pack(codes: Codes, bits: number): Bytes {
  const packed = new Uint8Array(packedBytes(codes.length, bits));
  let start = 0, shift = 0;
  for (; bits - shift >= 8; shift += 8, start += codes.length) {
    for (let i = 0; i < codes.length; i++) packed[start + i] = codes[i] >>> shift;
  }
  const rest = bits - shift;
  if (!rest) return packed;
  let waiting = 0, held = 0;
  for (const code of codes) {
    waiting |= ((code >>> shift) & ((1 << rest) - 1)) << held;
    held += rest;
    if (held >= 8) {
      packed[start++] = waiting;
      waiting >>>= 8;
      held -= 8;
    }
  }
  if (held) packed[start] = waiting;
  return packed;
}

/** Undo `pack`: uint8 up to 8 bits, uint16 up to 16, uint32 above. Throws `PayloadError`. */
export function unpack(packed: Bytes, bits: number, count: number): Codes {
  if (packed.length !== packedBytes(count, bits)) {
    throw new PayloadError(
      `there are ${packed.length} bytes; ${count} codes of ${bits} bits take ${packedBytes(count, bits)}`,
    );
  }
  const codes = bits <= 8 ? new Uint8Array(count) : bits <= 16 ? new Uint16Array(count) : new Uint32Array(count);
  let start = 0, shift = 0;
  for (; bits - shift >= 8; shift += 8, start += count) {
    for (let i = 0; i < count; i++) codes[i] |= packed[start + i] << shift;
  }
  const rest = bits - shift;
  let waiting = 0, held = 0;
  for (let i = 0; rest && i < count; i++) {
    if (held < rest) {
      waiting |= packed[start++] << held;
      held += 8;
    }
    codes[i] |= (waiting & ((1 << rest) - 1)) << shift;
    waiting >>>= rest;
    held -= rest;
  }
  if (waiting) throw new PayloadError(`the padding after ${count} codes of ${bits} bits is not zero`);
  return codes;
}

/** Encode distinct, sorted positions below `n`: a Rice code of their gaps, or a bitmap where that is shorter. */
export function packIndices(indices: Uint32Array, n: number): Bytes {
  const gaps = indices.map((index, i) => index - (i ? indices[i - 1] + 1 : 0));
  const widest = 32 - Math.clz32(gaps.reduce((most, gap) => Math.max(most, gap), 0));
  let [head, unary, least] = [0, 0, Infinity];
  for (let r = 0; r <= Math.min(widest, MOST_RICE); r++) {
    const bits = gaps.reduce((total, gap) => total + (gap >>> r), gaps.length);
    const size = packedBytes(gaps.length, r) + packedBytes(bits, 1);
    if (size < least) [head, unary, least] = [r, bits, size];
  }
  if (least >= packedBytes(n, 1)) return joined(BITMAP, new Uint8Array(0), bitmap(indices, n));
  let end = -1;
  const ends = gaps.map((gap) => (end += (gap >>> head) + 1));
  return joined(head, pack(gaps.map((gap) => gap & (2 ** head - 1)), head), bitmap(ends, unary));
}

/** Undo `packIndices`, for exactly `count` positions below `n`. Throws `PayloadError`. */
export function unpackIndices(code: Bytes, n: number, count: number): Uint32Array<ArrayBuffer> {
  if (!code.length) throw new PayloadError("the positions have no bytes; the first must tell how they are coded");
  const head = code[0], body = code.subarray(1);
  if (head === BITMAP) {
    if (body.length !== packedBytes(n, 1)) {
      throw new PayloadError(`the bitmap has ${body.length} bytes; ${n} values take ${packedBytes(n, 1)}`);
    }
    return ones(body, n, count);
  }
  if (head > MOST_RICE) {
    throw new PayloadError(`the positions start with ${head}; it must be 0 to ${MOST_RICE}, or ${BITMAP} for a bitmap`);
  }
  const split = packedBytes(count, head), most = count + Math.floor(n / 2 ** head);
  if (body.length < split || body.length > split + packedBytes(most, 1)) {
    throw new PayloadError(`${code.length} bytes cannot be the Rice code of ${count} positions below ${n}`);
  }
  const low = unpack(body.subarray(0, split), head, count), unary = body.subarray(split);
  const indices = ones(unary, 8 * unary.length, count);
  const used = count ? packedBytes(indices[count - 1] + 1, 1) : 0;
  if (unary.length !== used) throw new PayloadError(`${unary.length} bytes hold the positions; they must be ${used}`);
  let last = -1, before = -1;
  for (let i = 0; i < count; i++) {
    const gap = (indices[i] - before - 1) * 2 ** head + low[i];
    before = indices[i];
    last += gap + 1;
    if (last >= n) throw new PayloadError(`a position is ${last}; it must be below ${n}`);
    indices[i] = last;
  }
  return indices;
}

/** The positions of the bits that are 1, of which there must be `count`, all below `n`. */
function ones(bits: Bytes, n: number, count: number): Uint32Array<ArrayBuffer> {
  const found = new Uint32Array(count);
  let marked = 0;
  for (let i = 0; i < 8 * bits.length; i++) {
    if (!((bits[i >> 3] >> (i & 7)) & 1)) continue;
    if (i >= n) throw new PayloadError(`the padding after the bitmap of ${n} values is not zero`);
    if (marked < count) found[marked] = i;
    marked++;
  }
  if (marked !== count) throw new PayloadError(`the bits mark ${marked} positions; they must mark ${count}`);
  return found;
}

function bitmap(positions: Uint32Array, n: number): Bytes {
  const bits = new Uint8Array(packedBytes(n, 1));
  for (const position of positions) bits[position >> 3] |= 1 << (position & 7);
  return bits;
}

function joined(head: number, ...parts: readonly Bytes[]): Bytes {
  const code = new Uint8Array(1 + parts.reduce((size, part) => size + part.length, 0));
  code[0] = head;
  let at = 1;
  for (const part of parts) {
    code.set(part, at);
    at += part.length;
  }
  return code;
}
