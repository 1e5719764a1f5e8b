/** Drawn digits as MNIST has them: sized to a box, drawn with one pen, moved to their centre of mass. */

/** A line of the pen: points `x, y, x, y, ...` in any unit. */
export type Stroke = Float32Array<ArrayBuffer>;

const MNIST = { side: 28, box: 20, pen: 2.4 }; // pixels; MNIST's digits fill 20 of 28 (LeCun et al., 1998)

/**
 * A picture, `(height * width) uint8`, 0 for paper and 255 for ink, of any strokes: the same on every machine.
 *
 * Strokes are scaled, not pixels, so that the pen is as broad as MNIST's however large somebody draws.
 */
export function drawnPicture(strokes: readonly Stroke[], height = MNIST.side, width = MNIST.side): Uint8Array {
  const unit = Math.min(height, width) / MNIST.side;
  const radius = (MNIST.pen * unit) / 2;
  const fitted = fit(strokes, MNIST.box * unit - 2 * radius, width / 2, height / 2);
  const first = paint(fitted, radius, height, width);
  const [right, down] = toTheMiddle(first, height, width);
  return right || down ? paint(fitted.map((stroke) => moved(stroke, right, down)), radius, height, width) : first;
}

/** The strokes in a square of that size about a point; a dot stays a dot. */
function fit(strokes: readonly Stroke[], size: number, x: number, y: number): Stroke[] {
  const [left, right] = bounds(strokes, 0), [top, bottom] = bounds(strokes, 1);
  const largest = Math.max(right - left, bottom - top);
  const scale = largest > 0 ? size / largest : 0;
  return strokes.map((stroke) => stroke.map((value, place) =>
    place % 2 ? y + (value - (top + bottom) / 2) * scale : x + (value - (left + right) / 2) * scale));
}

function bounds(strokes: readonly Stroke[], axis: number): [number, number] {
  let least = Infinity, most = -Infinity;
  for (const stroke of strokes) {
    for (let place = axis; place < stroke.length; place += 2) {
      least = Math.min(least, stroke[place]);
      most = Math.max(most, stroke[place]);
    }
  }
  return least <= most ? [least, most] : [0, 0];
}

function moved(stroke: Stroke, right: number, down: number): Stroke {
  return stroke.map((value, place) => value + (place % 2 ? down : right));
}

/** Ink within the pen's radius of a stroke, with an edge of one pixel. */
function paint(strokes: readonly Stroke[], radius: number, height: number, width: number): Uint8Array {
  const picture = new Uint8Array(height * width);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const ink = Math.min(1, Math.max(0, radius + 0.5 - distance(strokes, column + 0.5, row + 0.5)));
      picture[row * width + column] = Math.round(255 * ink);
    }
  }
  return picture;
}

/** From a point to the nearest stroke. */
function distance(strokes: readonly Stroke[], x: number, y: number): number {
  let nearest = Infinity;
  for (const stroke of strokes) {
    for (let place = 0; place < stroke.length; place += 2) {
      const before = Math.max(0, place - 2);
      nearest = Math.min(
        nearest, toSegment(x, y, stroke[before], stroke[before + 1], stroke[place], stroke[place + 1]),
      );
    }
  }
  return Math.sqrt(nearest);
}

/** The square of the distance from a point to a segment. */
function toSegment(x: number, y: number, ax: number, ay: number, bx: number, by: number): number {
  const dx = bx - ax, dy = by - ay, length = dx * dx + dy * dy;
  const along = length > 0 ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  const ex = x - ax - along * dx, ey = y - ay - along * dy;
  return ex * ex + ey * ey;
}

/** Whole pixels by which the centre of mass is brought to the middle, and no ink out of the picture. */
function toTheMiddle(picture: Uint8Array, height: number, width: number): [number, number] {
  let mass = 0, x = 0, y = 0, left = width, right = -1, top = height, bottom = -1;
  picture.forEach((ink, place) => {
    if (!ink) return;
    const column = place % width, row = (place - column) / width;
    mass += ink;
    x += ink * (column + 0.5);
    y += ink * (row + 0.5);
    [left, right] = [Math.min(left, column), Math.max(right, column)];
    [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
  });
  if (!mass) return [0, 0];
  const within = (shift: number, least: number, most: number) => Math.min(most, Math.max(least, Math.round(shift)));
  return [
    within(width / 2 - x / mass, -left, width - 1 - right), within(height / 2 - y / mass, -top, height - 1 - bottom),
  ];
}
