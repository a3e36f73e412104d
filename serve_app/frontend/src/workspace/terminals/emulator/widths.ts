/**
 * How many cells a character takes: as many as the C library inside says to programs (`widths.py` made
 * the table), code point by code point, since that is how programs add them up.
 */

import type { IUnicodeVersionProvider } from "@xterm/xterm";
import table from "./widths.json";

/** One byte for each code point of the first plane and of the emoji's, the rest by search. */
const DIRECT = 0x20000;
const direct = new Uint8Array(DIRECT).fill(1);
const beyond: { first: number; last: number; width: 0 | 2 }[] = [];

for (const [ranges, width] of [
  [table.none, 0],
  [table.two, 2],
] as const) {
  for (const [first = 0, last = 0] of ranges) {
    direct.fill(width, Math.min(first, DIRECT), Math.min(last + 1, DIRECT));
    if (last >= DIRECT) beyond.push({ first, last, width });
  }
}

export function cells(code: number): 0 | 1 | 2 {
  if (code < DIRECT) return direct[code] as 0 | 1 | 2;
  return beyond.find(({ first, last }) => first <= code && code <= last)?.width ?? 1;
}

/** xterm.js keeps for each character its width and whether it joins the one before. */
const property = (width: number, joins: boolean) => ((width & 3) << 1) | (joins ? 1 : 0);
const widthOf = (value: number) => (value >> 1) & 3;

export const widths: IUnicodeVersionProvider = {
  version: "c-library",
  wcwidth: cells,
  charProperties(code, preceding) {
    const width = cells(code);
    const before = preceding === 0 ? 0 : widthOf(preceding);
    return width === 0 && before > 0 ? property(before, true) : property(width, false);
  },
};
