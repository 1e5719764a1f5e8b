/** A canvas for drawing by touch, mouse, pen or keys. */

import type { Stroke } from "../../data/strokes.ts";
import { button, el } from "../dom.ts";
import type { Texts } from "../texts/texts.ts";

const SIDE = 280; // pixels of the canvas; where it is shown larger or smaller, points are scaled
const STEPS = 20; // of the pen by keys, from one side to the other
const PEN = 16;
const MOVES: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

/** What is drawn, as strokes. */
export class Drawing {
  readonly element: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #told: HTMLElement;
  readonly #texts: Texts;
  readonly #done: () => void;
  readonly #changed: () => void;
  #strokes: number[][] = [];
  #at: [number, number] = [STEPS / 2, STEPS / 2];
  #down = false;
  #keys = false;
  #pointer: number | undefined;

  /** `done` is called when somebody has drawn by keys and wants to keep it; `changed` after each stroke. */
  constructor(texts: Texts, done: () => void, changed: () => void = () => {}) {
    this.#texts = texts;
    this.#done = done;
    this.#changed = changed;
    this.#told = el("p", { className: "hidden", aria: { live: "polite" } });
    this.#canvas = el("canvas", {
      width: SIDE, height: SIDE, tabIndex: 0, className: "drawing",
      aria: { role: "application", label: `${texts.data.drawing}. ${texts.data.drawingHow}` },
      on: {
        pointerdown: (event) => this.#begin(event as PointerEvent),
        pointermove: (event) => this.#draw(event as PointerEvent),
        pointerup: (event) => this.#end(event as PointerEvent),
        pointercancel: (event) => this.#end(event as PointerEvent),
        keydown: (event) => this.#key(event as KeyboardEvent),
        blur: () => this.#show(),
        focus: () => this.#show(),
      },
    });
    this.element = el("div", { className: "draw" }, this.#canvas, this.#told, el("div", { className: "row" },
      button(texts.data.undo, () => this.undo()), button(texts.data.clear, () => this.clear())));
    this.#show();
  }

  get strokes(): Stroke[] {
    return this.#strokes.map((stroke) => Float32Array.from(stroke, (value) => value / SIDE));
  }

  clear(): void {
    this.#strokes = [];
    this.#down = false;
    this.#show();
    this.#changed();
  }

  undo(): void {
    this.#strokes.pop();
    this.#down = false;
    this.#show();
    this.#changed();
  }

  #begin(event: PointerEvent): void {
    if (this.#pointer !== undefined || event.button !== 0) return;
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true });
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointer = event.pointerId;
    this.#keys = this.#down = false;
    this.#strokes.push(this.#point(event));
    this.#show();
  }

  #draw(event: PointerEvent): void {
    if (event.pointerId !== this.#pointer) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) this.#strokes.at(-1)?.push(...this.#point(each));
    this.#show();
  }

  #end(event: PointerEvent): void {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = undefined;
    this.#changed();
  }

  #point(event: PointerEvent): [number, number] {
    const box = this.#canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  }

  #key(event: KeyboardEvent): void {
    const move = MOVES[event.key];
    if (move) this.#move(move);
    else if (event.key === " ") this.#pen();
    else if (event.key === "Escape") this.clear();
    else if (event.key === "Enter") this.#done();
    else return;
    event.preventDefault();
    this.#keys = true;
    this.#show();
    this.#told.textContent = this.#texts.data.pen(this.#down, this.#at[0], this.#at[1]);
  }

  #move([right, down]: readonly [number, number]): void {
    const within = (value: number) => Math.min(STEPS - 1, Math.max(1, value));
    this.#at = [within(this.#at[0] + right), within(this.#at[1] + down)];
    if (!this.#down) return;
    this.#strokes.at(-1)?.push(...this.#here());
    this.#changed();
  }

  #pen(): void {
    this.#down = !this.#down;
    if (this.#down) this.#strokes.push(this.#here());
    this.#changed();
  }

  #here(): [number, number] {
    return [(this.#at[0] * SIDE) / STEPS, (this.#at[1] * SIDE) / STEPS];
  }

  #show(): void {
    const context = this.#canvas.getContext("2d");
    if (!context) return;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, SIDE, SIDE);
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = PEN;
    context.strokeStyle = "#14201a";
    for (const stroke of this.#strokes) {
      context.beginPath();
      context.moveTo(stroke[0], stroke[1]);
      for (let place = 0; place < stroke.length; place += 2) context.lineTo(stroke[place], stroke[place + 1]);
      context.stroke();
    }
    if (this.#keys && document.activeElement === this.#canvas) this.#showPen(context);
  }

  #showPen(context: CanvasRenderingContext2D): void {
    const [x, y] = this.#here();
    context.lineWidth = 3;
    context.strokeStyle = this.#down ? "#b3261e" : "#23734a";
    context.beginPath();
    context.arc(x, y, 11, 0, 2 * Math.PI);
    context.stroke();
  }
}
