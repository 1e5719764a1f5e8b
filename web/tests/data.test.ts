import assert from "node:assert/strict";
import { test } from "node:test";
import { Entries, type Entry } from "../src/data/entries.ts";
import { fitted, kindsFor } from "../src/data/fitted.ts";
import { KeptData } from "../src/data/kept_data.ts";
import { instant, windows } from "../src/data/motion.ts";
import { drawnPicture, type Stroke } from "../src/data/strokes.ts";
import { Unfit } from "../src/data/unfit.ts";
import { MemoryStore } from "../src/node/store.ts";
import { DoesNotFit, OwnSchema } from "../src/recipe/own_data.ts";
import { readJson } from "../src/wire/text.ts";

const SEVEN = [Float32Array.of(0.2, 0.2, 0.8, 0.2, 0.4, 0.9)], DOT = [Float32Array.of(0.5, 0.5)];
const DIGITS = schema({ shape: [1, 28, 28], classes: [..."0123456789"], shift: [0.5], scale: [0.5] });
const MOVES = schema({ shape: [6, 20], classes: ["row", "pendulum"] });
const TABLE = schema({ columns: ["age"], label: "sick", classes: ["no", "yes"] });
const noPixels = () => Promise.reject(new Unfit({ kind: "picture" }));

function schema(given: object): OwnSchema {
  return OwnSchema.fromJson(readJson(JSON.stringify(given)));
}

function changed(strokes: readonly Stroke[], scale: number, right: number, down: number): Stroke[] {
  return strokes.map((stroke) => stroke.map((value, place) => value * scale + (place % 2 ? down : right)));
}

/** Rows and columns of the ink, and its centre. */
function ink(picture: Uint8Array, side = 28) {
  const inked = [...picture.keys()].filter((place) => picture[place]);
  const rows = inked.map((place) => Math.floor(place / side)), columns = inked.map((place) => place % side);
  const mass = inked.reduce((sum, place) => sum + picture[place], 0);
  const middle = (at: (place: number) => number) =>
    inked.reduce((sum, place) => sum + picture[place] * (at(place) + 0.5), 0) / mass;
  return {
    height: Math.max(...rows) - Math.min(...rows) + 1, width: Math.max(...columns) - Math.min(...columns) + 1,
    x: middle((place) => place % side), y: middle((place) => Math.floor(place / side)), full: Math.max(...picture),
  };
}

test("a drawing is as MNIST has digits: 20 pixels large, about its centre of mass, ink up to 255", () => {
  const { height, width, x, y, full } = ink(drawnPicture(SEVEN));
  assert.ok(height >= 19 && height <= 22 && width < height, `${height} x ${width}`);
  assert.ok(Math.abs(x - 14) <= 0.5 && Math.abs(y - 14) <= 0.5, `${x} ${y}`);
  assert.equal(full, 255);
});

test("a digit is the same however large, and wherever, somebody draws it", () => {
  const whole = drawnPicture(SEVEN);
  for (const [scale, right, down] of [[0.25, 0.5, 0.25], [2, -4, 1], [0.5, 0, 0]]) {
    assert.deepEqual(drawnPicture(changed(SEVEN, scale, right, down)), whole);
  }
  assert.notDeepEqual(drawnPicture([SEVEN[0].map((value, place) => (place % 2 ? value : 1 - value))]), whole);
});

test("a dot is a dot in the middle, and nothing is nothing", () => {
  const { height, width, x, y } = ink(drawnPicture(DOT));
  assert.ok(height <= 4 && width <= 4 && Math.abs(x - 14) <= 0.5 && Math.abs(y - 14) <= 0.5);
  assert.ok(drawnPicture([]).every((pixel) => pixel === 0));
});

test("a drawing far out of balance stays whole in the picture", () => {
  const blot = Array.from({ length: 60 }, (_, i) => [0.02 * (i % 8), 0.02 * (i >> 3)]).flat();
  const { full, height, width } = ink(drawnPicture([Float32Array.from(blot), Float32Array.of(0, 0, 1, 1)]));
  assert.equal(full, 255);
  assert.ok(Math.max(height, width) >= 18);
});

test("a drawing fits pictures of other sizes, and is scaled as the schema says", async () => {
  const { inputs, targets } = await fitted({ kind: "drawn", strokes: SEVEN, label: "7" }, DIGITS, noPixels);
  assert.deepEqual(targets, [7]);
  assert.deepEqual([...inputs], Array.from(drawnPicture(SEVEN), (pixel) => Math.fround((pixel / 255 - 0.5) / 0.5)));
  const { height } = ink(drawnPicture(SEVEN, 56, 56), 56);
  assert.ok(height >= 39 && height <= 43);
});

/** Instants at irregular times, of values that are straight lines over time. */
function line(milliseconds: number, gap = 0): Float64Array<ArrayBuffer> {
  const times: number[] = [];
  for (let time = 0, i = 0; time <= milliseconds; time += 9 + (i++ * 7) % 13) {
    times.push(time > 500 ? time + gap : time);
  }
  const at = (time: number) => [1, 2, 3, 4, 5, 6].map((slope) => (slope * time) / 1000);
  return Float64Array.from(times.flatMap((time) => [time + 40, ...at(time)]));
}

test("windows of a recording have 50 instants a second, whenever the browser told of them", () => {
  const found = windows(line(1000), 20);
  assert.equal(found.length, 4); // half a window apart
  found.forEach((window, place) => window.forEach((value, at) => {
    const time = (place * 10 + (at % 20)) / 50, slope = 1 + Math.floor(at / 20);
    assert.ok(Math.abs(value - slope * time) < 1e-9, `${place} ${at}`);
  }));
});

test("a window with a gap is left out, and a recording that is too short has none", () => {
  assert.equal(windows(line(1000), 60).length, 0);
  assert.equal(windows(new Float64Array(0), 10).length, 0);
  assert.ok(windows(line(1000, 400), 20).length < windows(line(1400), 20).length);
  assert.ok(windows(line(1000, 400), 20).length > 0);
});

test("an instant has g and radians a second, and there is none where a sensor is missing", () => {
  const at = (pull: object | null, turn: object | null) =>
    instant({ timeStamp: 5, accelerationIncludingGravity: pull, rotationRate: turn } as DeviceMotionEvent);
  const turn = { alpha: 180, beta: 0, gamma: -90 };
  assert.deepEqual(at({ x: 9.80665, y: 0, z: -9.80665 }, turn), [5, 1, 0, -1, Math.PI, 0, -Math.PI / 2]);
  assert.equal(at({ x: null, y: null, z: null }, turn), undefined);
  assert.equal(at({ x: 1, y: 1, z: 1 }, null), undefined);
});

const ENTRIES: readonly Entry[] = [
  { kind: "drawn", strokes: [...SEVEN, ...DOT], label: "7" },
  { kind: "moved", recording: line(1000), label: "row" },
  { kind: "picture", file: Uint8Array.of(1, 2, 3), name: "own.png", label: "3" },
  { kind: "table", file: Uint8Array.from(new TextEncoder().encode("age,sick\n50,yes\n40,no\n")), name: "own.csv" },
];

test("what is kept is found again as it was, in its order, until it is deleted", async () => {
  const entries = new Entries(new MemoryStore());
  const keys = await entries.add(ENTRIES, 1000);
  await entries.add([ENTRIES[0]], 2000);
  const all = await entries.all();
  assert.deepEqual(all.map(({ key, ...entry }) => entry), [...ENTRIES, ENTRIES[0]]);
  await entries.remove(keys[0], keys[2]);
  assert.deepEqual((await entries.all()).map(({ kind }) => kind), ["moved", "table", "drawn"]);
});

test("a run gets the samples of the kinds that it can use", async () => {
  const entries = new Entries(new MemoryStore()), asked: OwnSchema[] = [];
  await entries.add(ENTRIES.filter(({ kind }) => kind !== "picture"));
  const data = new KeptData(entries, noPixels, (each) => asked.push(each));
  assert.deepEqual([...(await data.samples(DIGITS)).targets], [7n]);
  assert.deepEqual((await data.samples(MOVES)).targets, new BigInt64Array(4));
  const table = await data.samples(TABLE);
  assert.deepEqual([[...table.inputs], [...table.targets], table.shape], [[50, 40], [1n, 0n], [1]]);
  assert.deepEqual(asked, [DIGITS, MOVES, TABLE]);
  await entries.add([{ kind: "drawn", strokes: DOT, label: "1" }]);
  assert.deepEqual([...(await data.samples(DIGITS)).targets], [7n, 1n]);
});

test("a refusal that may be sent tells nothing of the data", async () => {
  const entries = new Entries(new MemoryStore()), data = new KeptData(entries, noPixels);
  const refusal = (of: OwnSchema) => data.samples(of).then(() => "", (error: Error) => {
    assert.ok(error instanceof DoesNotFit);
    return error.message;
  });
  const nothing = await refusal(TABLE);
  const secrets = [
    "age,sick\nsecret,yes\n", "secret,sick\n1,yes\n", "age,sick\n1,secret\n", "age,sick\n1,yes,secret\n",
  ];
  const told = new Set<string>();
  for (const text of secrets) {
    const file = Uint8Array.from(new TextEncoder().encode(text));
    const keys = await entries.add([{ kind: "table", file, name: "secret.csv" }]);
    told.add(await refusal(TABLE));
    await entries.remove(...keys);
  }
  assert.equal(told.size, 1);
  assert.doesNotMatch([...told][0] + nothing, /secret|\d/);
});

test("which kinds a task can use follows from its schema", () => {
  assert.deepEqual([DIGITS, MOVES, TABLE].map(kindsFor), [["drawn", "picture"], ["moved"], ["table"]]);
  assert.deepEqual(kindsFor(schema({ shape: [3, 8, 8], classes: ["a", "b"] })), ["picture"]);
  assert.deepEqual(kindsFor(schema({ shape: [5] })), []);
});
