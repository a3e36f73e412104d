/**
 * The text of a file and how it is written down, so that saving gives back every byte that was not
 * edited: encoding, byte order mark, line breaks. Pure.
 */

export type Encoding = "utf-8" | "utf-16le" | "utf-16be" | "windows-1252";

export interface TextFormat {
  encoding: Encoding;
  /** True if a byte order mark stands before the text; it is never a part of the text. */
  bom: boolean;
  /** The end of a line; "mixed" keeps every carriage return as a character of its line. */
  lineBreak: "\n" | "\r\n" | "\r" | "mixed";
}

export interface TextFile {
  text: string;
  format: TextFormat;
}

export const NEW_FILE: TextFormat = { encoding: "utf-8", bom: false, lineBreak: "\n" };

const PROBE_BYTES = 8192;
const MARKS: [Encoding, number[]][] = [
  ["utf-8", [0xef, 0xbb, 0xbf]],
  ["utf-16le", [0xff, 0xfe]],
  ["utf-16be", [0xfe, 0xff]],
];

/**
 * Read bytes as text; null when they are none, or could not be written back as they are. What is not
 * Unicode is taken for Windows-1252, in which every byte is a character (WHATWG Encoding, 9).
 */
export function decode(bytes: Uint8Array): TextFile | null {
  const [encoding, mark] = MARKS.find(([, mark]) => mark.every((byte, i) => bytes[i] === byte)) ?? [];
  const body = mark ? bytes.subarray(mark.length) : bytes;
  const file = encoding ? read(body, encoding, true) : guess(body);
  return file && equal(encode(file.text, file.format), bytes) ? file : null;
}

/** The bytes of a text; null when it has characters that its encoding lacks. */
export function encode(text: string, { encoding, bom }: TextFormat): Uint8Array<ArrayBuffer> | null {
  const body = toBytes(text, encoding);
  const mark = bom ? MARKS.find(([name]) => name === encoding)?.[1] : undefined;
  if (!body || !mark) return body;
  const whole = new Uint8Array(mark.length + body.length);
  whole.set(mark);
  whole.set(body, mark.length);
  return whole;
}

/** The first character of a text that an encoding lacks. */
export function lacking(text: string, encoding: Encoding): string | undefined {
  return [...text].find((character) => toBytes(character, encoding) === null);
}

/** The words for a format that is not the usual one; null for the usual one. */
export function describeFormat({ encoding, bom, lineBreak }: TextFormat): string | null {
  const parts = [
    encoding === "utf-8" ? (bom ? "UTF-8 with BOM" : null) : NAMES[encoding],
    { "\n": null, "\r\n": "CRLF", "\r": "CR", mixed: "mixed line ends" }[lineBreak],
  ].filter((part) => part !== null);
  return parts.length > 0 ? parts.join(" · ") : null;
}

export const NAMES: Record<Encoding, string> = {
  "utf-8": "UTF-8",
  "utf-16le": "UTF-16 LE",
  "utf-16be": "UTF-16 BE",
  "windows-1252": "Windows-1252",
};

function guess(bytes: Uint8Array): TextFile | null {
  const probe = bytes.subarray(0, PROBE_BYTES);
  if (probe.includes(0)) return null;
  const unicode = read(bytes, "utf-8", false);
  return unicode ?? (probe.some(isControl) ? null : read(bytes, "windows-1252", false));
}

/** True for bytes that no text has: control characters but for BS, TAB, LF, VT, FF, CR and ESC. */
function isControl(byte: number): boolean {
  return (byte < 0x20 && !(byte >= 0x08 && byte <= 0x0d) && byte !== 0x1b) || byte === 0x7f;
}

function read(bytes: Uint8Array, encoding: Encoding, bom: boolean): TextFile | null {
  try {
    const text = new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes);
    return { text, format: { encoding, bom, lineBreak: lineBreak(text) } };
  } catch {
    return null;
  }
}

function lineBreak(text: string): TextFormat["lineBreak"] {
  const crlf = text.split("\r\n").length - 1;
  const lf = text.split("\n").length - 1;
  const cr = text.split("\r").length - 1;
  if (cr === 0) return "\n";
  if (crlf === lf && crlf === cr) return "\r\n";
  return lf === 0 ? "\r" : "mixed";
}

function toBytes(text: string, encoding: Encoding): Uint8Array<ArrayBuffer> | null {
  if (encoding === "utf-8") return text.isWellFormed() ? new TextEncoder().encode(text) : null;
  if (encoding === "windows-1252") return toSingleBytes(text);
  const bytes = new Uint8Array(2 * text.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < text.length; i++) {
    view.setUint16(2 * i, text.charCodeAt(i), encoding === "utf-16le");
  }
  return bytes;
}

function toSingleBytes(text: string): Uint8Array<ArrayBuffer> | null {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = singleBytes().get(text.charCodeAt(i));
    if (byte === undefined) return null;
    bytes[i] = byte;
  }
  return bytes;
}

let table: Map<number, number> | null = null;

function singleBytes(): Map<number, number> {
  if (table === null) {
    const all = new TextDecoder("windows-1252").decode(Uint8Array.from({ length: 256 }, (_, i) => i));
    table = new Map([...all].map((character, byte) => [character.charCodeAt(0), byte]));
  }
  return table;
}

function equal(one: Uint8Array | null, other: Uint8Array): boolean {
  return one?.length === other.length && one.every((byte, i) => byte === other[i]);
}
