/** Which versions of Hedgerow are compatible: those at most one minor version apart (`hedgerow.recipe.versions`). */

import { VERSION } from "../version.ts";

const WRITTEN = /^(\d{1,4})\.(\d{1,4})(?:[.+-][0-9A-Za-z.+-]{1,40})?$/;

/** Whether a server with another version can take part. */
export function supported(theirs: string, mine = VERSION): boolean {
  const one = WRITTEN.exec(theirs), other = WRITTEN.exec(mine);
  if (!one || !other) return false;
  return Number(one[1]) === Number(other[1]) && Math.abs(Number(one[2]) - Number(other[2])) <= 1;
}
