/** Elements in a line of code; texts are always texts, never markup. */

type Child = Node | string | undefined | false;
type Given<N extends keyof HTMLElementTagNameMap> = Partial<Omit<HTMLElementTagNameMap[N], "style" | "dataset">> & {
  readonly aria?: Readonly<Record<string, string>>;
  readonly on?: Readonly<Record<string, (event: Event) => void>>;
};

/** An element with properties, ARIA attributes, listeners and children. */
export function el<N extends keyof HTMLElementTagNameMap>(
  name: N, given: Given<N> = {}, ...children: readonly Child[]
): HTMLElementTagNameMap[N] {
  const { aria, on, ...properties } = given;
  const made = document.createElement(name);
  Object.assign(made, properties);
  for (const [key, value] of Object.entries(aria ?? {})) made.setAttribute(key === "role" ? key : `aria-${key}`, value);
  for (const [event, heard] of Object.entries(on ?? {})) made.addEventListener(event, heard);
  made.append(...children.filter((child): child is Node | string => child !== undefined && child !== false));
  return made;
}

/** A button; what goes wrong in its work is told by `failed`. */
export function button(
  text: string, act: () => unknown, { primary = false, label = "" } = {},
): HTMLButtonElement {
  const made = el("button", { type: "button", textContent: text, on: { click: () => void act() } });
  if (primary) made.className = "primary";
  if (label) made.setAttribute("aria-label", label);
  return made;
}

/** A box with a heading. */
export function section(title: string, ...children: readonly Child[]): HTMLElement {
  return el("section", {}, el("h2", { textContent: title }), ...children);
}

/** The first box of a screen, whose heading is the screen's; it has the focus where somebody has come by a button. */
export function opening(title: string, ...children: readonly Child[]): HTMLElement {
  return el("section", {}, el("h1", { textContent: title, tabIndex: -1 }), ...children);
}

/** Lines of text as a list. */
export function list(lines: readonly (string | Node)[], className = ""): HTMLUListElement {
  return el("ul", { className }, ...lines.map((line) => el("li", {}, line)));
}

/** A field with its label; the field is the last child of what is returned. */
export function field(label: string, input: HTMLElement, note = ""): HTMLLabelElement {
  return el("label", { className: "field" }, el("span", { textContent: label }), input,
    note ? el("small", { textContent: note }) : undefined);
}

/** One of several, each a radio button with a text; `chosen` is told of each choice. */
export function choice(
  legend: string, options: readonly (readonly [string, string])[], chosen: (value: string) => void, first?: string,
): HTMLFieldSetElement {
  const name = `choice-${crypto.randomUUID()}`;
  return el("fieldset", { className: "choice" }, el("legend", { textContent: legend }),
    ...options.map(([value, text]) => el("label", {},
      el("input", { type: "radio", name, value, checked: value === first, on: { change: () => chosen(value) } }),
      el("span", { textContent: text }))));
}
