/** Why data do not fit a run's schema: for the person whose data they are, and for nobody else. */

export type Why =
  | { readonly kind: "encoding" | "quotes" | "no columns" | "empty" | "picture" | "too short" | "other kind" }
  | { readonly kind: "nothing" | "no label" }
  | { readonly kind: "no column"; readonly column: string; readonly names: readonly string[] }
  | { readonly kind: "two columns"; readonly column: string }
  | { readonly kind: "cells"; readonly row: number; readonly found: number; readonly wanted: number }
  | {
    readonly kind: "value"; readonly row: number; readonly column: string; readonly cell: string;
    readonly allowed: string;
  }
  | { readonly kind: "range"; readonly allowed: string }
  | { readonly kind: "label"; readonly row?: number; readonly label: string; readonly classes: readonly string[] };

/** Something that does not fit; `why` is what the page says of it, tells of the data, and never leaves the device. */
export class Unfit extends Error {
  readonly why: Why;

  constructor(why: Why) {
    super(why.kind);
    this.why = why;
  }
}
