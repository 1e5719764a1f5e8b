/** What a phone's sensors tell, as windows of the watch's six channels (`hedgerow.datasets.watch`). */

/** An instant: milliseconds, and acceleration (x, y, z, in g, with gravity) and rotation (x, y, z, in rad/s). */
export type Instant = readonly [number, number, number, number, number, number, number];

/** Values of an instant. */
export const VALUES = 7;

/** Channels of a window, in this order: `ax`, `ay`, `az`, `wx`, `wy`, `wz`. */
export const CHANNELS = 6;

const RATE = 50; // instants a second, as the watch has
const GRAVITY = 9.80665; // m/s^2
const LONGEST_GAP = 250; // milliseconds without an instant, beyond which nothing is known of the movement

/** An event of the sensors as an instant; nothing where the device lacks one of the sensors. */
export function instant(event: DeviceMotionEvent): Instant | undefined {
  const pull = event.accelerationIncludingGravity, turn = event.rotationRate;
  const given = [pull?.x, pull?.y, pull?.z, turn?.alpha, turn?.beta, turn?.gamma];
  if (given.some((value) => typeof value !== "number" || !Number.isFinite(value))) return undefined;
  const values = (given as number[]).map((value, at) => (at < 3 ? value / GRAVITY : (value * Math.PI) / 180));
  return [event.timeStamp, ...values] as unknown as Instant;
}

/**
 * Windows of a recording, `(windows, 6, length) float64`, each begun half a window after the one before.
 *
 * Browsers give instants when they like: between them, values are taken to change evenly. A window with a gap of more
 * than a quarter of a second is left out.
 */
export function windows(recording: Float64Array, length: number): Float64Array[] {
  const times = Float64Array.from({ length: recording.length / VALUES }, (_, i) => recording[i * VALUES]);
  const last = times.at(-1) ?? 0, count = times.length ? Math.floor(((last - times[0]) * RATE) / 1000) + 1 : 0;
  const found: Float64Array[] = [];
  const step = Math.max(1, length >> 1);
  for (let start = 0; start + length <= count; start += step) {
    const from = times[0] + (start * 1000) / RATE, until = from + ((length - 1) * 1000) / RATE;
    if (without(times, from, until)) found.push(window(recording, times, from, length));
  }
  return found;
}

/** Whether the recording has no gap between two times. */
function without(times: Float64Array, from: number, until: number): boolean {
  const outside = (before: number, time: number) => time <= from || before >= until;
  return times.every((time, i) => i === 0 || outside(times[i - 1], time) || time - times[i - 1] <= LONGEST_GAP);
}

function window(recording: Float64Array, times: Float64Array, from: number, length: number): Float64Array {
  const values = new Float64Array(CHANNELS * length);
  let after = 0;
  for (let i = 0; i < length; i++) {
    const time = from + (i * 1000) / RATE;
    while (after < times.length - 1 && times[after] < time) after++;
    const before = Math.max(0, times[after] > time ? after - 1 : after);
    const span = times[after] - times[before], part = span > 0 ? (time - times[before]) / span : 0;
    for (let channel = 0; channel < CHANNELS; channel++) {
      const [a, b] = [before, after].map((place) => recording[place * VALUES + 1 + channel]);
      values[channel * length + i] = a + (b - a) * part;
    }
  }
  return values;
}
