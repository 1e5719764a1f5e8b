/** numpy's PCG64 with its seed sequence, bit for bit (O'Neill 2014; NEP 19 keeps both stable). */

const MULTIPLIER = [0x9fccf645, 0x4385df64, 0x1fc65da4, 0x2360ed05] as const;
const POOL = 4;

/** A stream of 64-bit words, from at most four 32-bit words of entropy; 128-bit numbers are four 32-bit ones. */
export class Pcg64 {
  /** The halves of the last word. */
  high = 0;
  low = 0;
  #state: Uint32Array;
  #increment: Uint32Array;

  constructor(entropy: Uint32Array) {
    const words = seeds(entropy, 8); // the high halves of both numbers come first
    const stream = Uint32Array.of(words[6], words[7], words[4], words[5]);
    this.#state = Uint32Array.of(0, 0, 0, 0);
    this.#increment = stream.map((limb, i) => (limb << 1) | (i ? stream[i - 1] >>> 31 : 1));
    this.#step();
    add(this.#state, Uint32Array.of(words[2], words[3], words[0], words[1]));
    this.#step();
  }

  /** Draw the next word into `high` and `low`. */
  next(): void {
    this.#step();
    const [s0, s1, s2, s3] = this.#state;
    const turn = s3 >>> 26, by = turn & 31;
    let high = s3 ^ s1, low = s2 ^ s0;
    if (turn >= 32) [high, low] = [low, high];
    this.high = (by ? (high >>> by) | (low << (32 - by)) : high) >>> 0;
    this.low = (by ? (low >>> by) | (high << (32 - by)) : low) >>> 0;
  }

  #step(): void {
    const [s0, s1, s2, s3] = this.#state, [m0, m1, m2, m3] = MULTIPLIER, [i0, i1, i2, i3] = this.#increment;
    const c0 = low(s0, m0) + i0;
    const c1 = high(s0, m0) + low(s0, m1) + low(s1, m0) + i1 + carry(c0);
    const c2 = high(s0, m1) + high(s1, m0) + low(s0, m2) + low(s1, m1) + low(s2, m0) + i2 + carry(c1);
    const c3 = high(s0, m2) + high(s1, m1) + high(s2, m0) + low(s0, m3) + low(s1, m2) + low(s2, m1)
      + low(s3, m0) + i3 + carry(c2);
    this.#state[0] = c0;
    this.#state[1] = c1;
    this.#state[2] = c2;
    this.#state[3] = c3;
  }
}

/** The low 32 bits of a product of two 32-bit numbers. */
function low(a: number, b: number): number {
  return Math.imul(a, b) >>> 0;
}

/** The high 32 bits of that product. */
function high(a: number, b: number): number {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const upper = a1 * b0 + ((a0 * b0) >>> 16);
  const lower = a0 * b1 + (upper & 0xffff);
  return (a1 * b1 + Math.floor(upper / 0x10000) + Math.floor(lower / 0x10000)) >>> 0;
}

function carry(sum: number): number {
  return Math.floor(sum / 0x100000000);
}

function add(to: Uint32Array, other: Uint32Array): void {
  let over = 0;
  for (let i = 0; i < to.length; i++) {
    const sum = to[i] + other[i] + over;
    to[i] = sum;
    over = carry(sum);
  }
}

/** What numpy's `SeedSequence(entropy).generate_state(...)` returns, as 32-bit words. */
function seeds(entropy: Uint32Array, count: number): Uint32Array {
  let hash = 0x43b0d7e5;
  const hashed = (given: number): number => {
    let value = given ^ hash;
    hash = Math.imul(hash, 0x931e8875);
    value = Math.imul(value, hash);
    return value ^ (value >>> 16);
  };
  const pool = Array.from({ length: POOL }, (_, i) => hashed(i < entropy.length ? entropy[i] : 0));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) {
      if (from === to) continue;
      const mixed = Math.imul(0xca01f9dd, pool[to]) - Math.imul(0x4973f715, hashed(pool[from])) | 0;
      pool[to] = mixed ^ (mixed >>> 16);
    }
  }
  hash = 0x8b51f9dd;
  return Uint32Array.from({ length: count }, (_, i) => {
    let value = pool[i % POOL] ^ hash;
    hash = Math.imul(hash, 0x58f38ded);
    value = Math.imul(value, hash);
    return value ^ (value >>> 16);
  });
}
