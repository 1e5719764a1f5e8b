/** Pictures as their pixels, by the browser's own decoders. */

import type { Bytes } from "../types.ts";
import { Unfit } from "./unfit.ts";

/**
 * A picture's pixels, `(channels * height * width)` from 0 to 255, for a shape of `(1 or 3, height, width)`.
 *
 * One of that size is taken as it is; of another, the largest part in the middle with these sides, made smaller.
 * Grey is made of colours as Pillow does (ITU-R 601-2 luma).
 */
export async function picturePixels(file: Bytes, shape: readonly number[]): Promise<Uint8Array> {
  const [channels, height, width] = shape;
  const rgba = await painted(file, height, width), size = height * width;
  const pixels = new Uint8Array(channels * size);
  for (let at = 0; at < size; at++) {
    const [red, green, blue] = rgba.subarray(4 * at, 4 * at + 3);
    if (channels === 1) pixels[at] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    else [red, green, blue].forEach((value, channel) => (pixels[channel * size + at] = value));
  }
  return pixels;
}

async function painted(file: Bytes, height: number, width: number): Promise<Uint8ClampedArray> {
  let picture: ImageBitmap;
  try {
    picture = await createImageBitmap(new Blob([file]), { colorSpaceConversion: "none" });
  } catch {
    throw new Unfit({ kind: "picture" });
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Unfit({ kind: "picture" });
  const scale = Math.max(width / picture.width, height / picture.height);
  const [w, h] = [width / scale, height / scale];
  context.imageSmoothingQuality = "high";
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, 0, 0, width, height);
  picture.close();
  return context.getImageData(0, 0, width, height).data;
}
