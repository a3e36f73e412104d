/**
 * Text that is pasted or dropped may come from anywhere. A terminal takes control characters in it as keys:
 * one ends the bracketed paste and runs the rest, another suspends a program. Only text is let through.
 */

/** CSI, OSC and the other strings, in seven and eight bits (ECMA-48, 5.4 and 5.6): as a whole, if whole. */
const SEQUENCES =
  /(?:\x1b\[|\x9b)[\x30-\x3f]*[\x20-\x2f]*[\x40-\x7e]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)/g;

/** C0 but tab and CR, DEL, and C1. */
const CONTROLS = /[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f-\x9f]/g;

/** The part of a text that is typed; its lines end as the Enter key does. */
export function cleanPaste(text: string): string {
  return text.replace(SEQUENCES, "").replace(/\r?\n/g, "\r").replace(CONTROLS, "");
}
