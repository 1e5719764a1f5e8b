/** The version of Hedgerow that this is part of, which a coordinator compares with its own. */
export const VERSION = "0.1.0";
