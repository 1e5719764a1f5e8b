/** Why graphs cannot be used. */

/** Graphs that are damaged, or not what their manifest says; with what is wrong. */
export class BadGraphs extends RangeError {}
