/** Which versions of Hedgerow are compatible: those at most one minor version apart (`hedgerow.recipe.versions`). */

/** This client's; a test holds it to the Python package's. */
export const OWN = "0.1.0";

const VERSION = /^(\d{1,4})\.(\d{1,4})(?:[.+-][0-9A-Za-z.+-]{1,40})?$/;

/** Whether a server with another version can take part. */
export function supported(theirs: string, mine = OWN): boolean {
  const one = VERSION.exec(theirs), other = VERSION.exec(mine);
  if (!one || !other) return false;
  return Number(one[1]) === Number(other[1]) && Math.abs(Number(one[2]) - Number(other[2])) <= 1;
}
