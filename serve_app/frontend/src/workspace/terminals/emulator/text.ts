/** The terminal's own lines, and the characters of keys. Pure. */

import { formatBytes } from "../../../lib/format";
import type { Mark } from "../connection";

/**
 * Undoes what a program that is gone may have set: a broken-off sequence (CAN), the alternate screen,
 * margins, a hidden cursor, mouse reports, bracketed paste, focus reports, application keys, colours.
 * Leaving the alternate screen moves the cursor, and so does giving up margins: it is saved before.
 */
export const RESET_MODES =
  "\x18\x1b7\x1b[?1049l\x1b7\x1b[?6l\x1b[r\x1b8\x1b[?25h\x1b[?9;1000;1002;1003;1005;1006;1015l" +
  "\x1b[?2004l\x1b[?1004l\x1b[?1l\x1b>\x1b[?7h\x1b[4l\x1b(B\x0f\x1b[0m";

export function markText(mark: Mark): string {
  switch (mark.type) {
    case "restarted":
      return "shell restarted";
    case "truncated":
      return mark.bytes
        ? `${formatBytes(mark.bytes)} of output are no longer kept`
        : "earlier output is no longer kept";
    case "over":
      return mark.exitCode === null
        ? "the shell has ended · press Enter for a new one"
        : `the shell ended with ${mark.exitCode} · press Enter for a new one`;
    case "replaced":
      return "this terminal went on in another window · press Enter to take it back";
    case "failed":
      return `${mark.reason} · press Enter to try again`;
    case "input_refused":
      return `${formatBytes(mark.bytes)} of input were not taken: too much waits already`;
  }
}

/** The control character of a key (Ctrl-C is 3), or null where there is none. */
export function controlCharacter(text: string): string | null {
  if (text.length !== 1) return null;
  if (text === " ") return "\0";
  if (text === "?") return "\x7f";
  const code = text.toUpperCase().charCodeAt(0);
  return code >= 64 && code < 96 ? String.fromCharCode(code - 64) : null;
}

/** The sequence of an arrow key, in the form that the program asked for. */
export function arrowKey(direction: "A" | "B" | "C" | "D", application: boolean): string {
  return `\x1b${application ? "O" : "["}${direction}`;
}

/** The first free name for a new terminal. */
export function freeName(taken: Iterable<string>): string {
  const names = new Set(taken);
  if (!names.has("main")) return "main";
  let number = 2;
  while (names.has(`shell-${number}`)) number += 1;
  return `shell-${number}`;
}
