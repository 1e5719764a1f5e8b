/** Small pictures of what is kept. */

import type { Entry } from "../../data/entries.ts";
import { CHANNELS, VALUES } from "../../data/motion.ts";
import { drawnPicture } from "../../data/strokes.ts";
import { el } from "../dom.ts";

const SIDE = 56;
const COLOURS = ["#23734a", "#96620a", "#b3261e", "#3c6fb0", "#7a4fa3", "#5b675f"];

/** A canvas that shows an entry; it says nothing to a screen reader, because its label stands beside it. */
export function thumbnail(entry: Entry): HTMLElement {
  const unsaid = { className: "thumbnail", aria: { hidden: "true" } };
  if (entry.kind === "table") return el("span", { ...unsaid, textContent: "CSV" });
  const canvas = el("canvas", { ...unsaid, width: SIDE, height: SIDE });
  const context = canvas.getContext("2d");
  if (!context) return canvas;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
  if (entry.kind === "drawn") showDrawn(context, drawnPicture(entry.strokes));
  else if (entry.kind === "moved") showMoved(context, entry.recording);
  else void showPicture(context, entry.file);
  return canvas;
}

/** As the model sees it: 28 x 28, here each pixel as four. */
function showDrawn(context: CanvasRenderingContext2D, picture: Uint8Array): void {
  const each = SIDE / 28;
  picture.forEach((ink, place) => {
    if (!ink) return;
    context.fillStyle = `rgb(${255 - ink} ${255 - ink} ${255 - ink})`;
    context.fillRect((place % 28) * each, Math.floor(place / 28) * each, each, each);
  });
}

function showMoved(context: CanvasRenderingContext2D, recording: Float64Array): void {
  const count = recording.length / VALUES;
  for (let channel = 0; channel < CHANNELS; channel++) {
    context.strokeStyle = COLOURS[channel];
    context.beginPath();
    for (let x = 0; x < SIDE; x++) {
      const value = recording[Math.floor((x * (count - 1)) / (SIDE - 1)) * VALUES + 1 + channel];
      context.lineTo(x, SIDE / 2 - Math.max(-1, Math.min(1, value / 4)) * (SIDE / 2));
    }
    context.stroke();
  }
}

async function showPicture(context: CanvasRenderingContext2D, file: Uint8Array<ArrayBuffer>): Promise<void> {
  try {
    const picture = await createImageBitmap(new Blob([file]));
    const scale = Math.max(SIDE / picture.width, SIDE / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    context.drawImage(picture, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
    picture.close();
  } catch {
    context.fillStyle = "#b3261e";
    context.fillText("?", SIDE / 2, SIDE / 2);
  }
}
