/** The texts in the browser's language, where there are some in it. */

import { en, type Texts } from "./en.ts";

const ALL: Readonly<Record<string, Texts>> = { en };

export function textsFor(languages: readonly string[]): Texts {
  const found = languages.map((language) => ALL[language.split("-")[0]]).find((texts) => texts);
  return found ?? en;
}

export type { Texts };
