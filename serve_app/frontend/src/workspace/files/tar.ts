/** Files of this machine as one tar stream, read from the disk only as it is sent. Pure. */

export interface Item {
  path: string;
  /** Null: a folder. */
  file: File | null;
}

const BLOCK = 512;
const MAX_NAME = 100;
const MAX_SIZE = 8 ** 11 - 1;
const utf8 = new TextEncoder();

/** An archive with the items, in their order; what is longer than a header holds has one of its own (pax). */
export function tarOf(items: readonly Item[]): Blob {
  const parts: BlobPart[] = [];
  for (const { path, file } of items) {
    const size = file?.size ?? 0;
    const seconds = Math.max(0, Math.floor((file?.lastModified ?? 0) / 1000));
    const name = utf8.encode(path);
    const records: string[] = [];
    if (name.length > MAX_NAME) records.push(record("path", path));
    if (size > MAX_SIZE) records.push(record("size", String(size)));
    if (records.length > 0) {
      const body = utf8.encode(records.join(""));
      parts.push(header(utf8.encode("pax"), "x", body.length, 0), body, filling(body.length));
    }
    parts.push(header(name, file === null ? "5" : "0", Math.min(size, MAX_SIZE), seconds));
    if (file !== null) parts.push(file, filling(size));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts);
}

function header(name: Uint8Array, type: "0" | "5" | "x", size: number, seconds: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string) => block.set(utf8.encode(text), at);
  block.set(name.subarray(0, MAX_NAME));
  put(100, type === "5" ? "0000755\0" : "0000644\0");
  put(108, "0000000\0" + "0000000\0");
  put(124, octal(size) + octal(Math.min(seconds, MAX_SIZE)));
  put(148, " ".repeat(8) + type);
  put(257, "ustar\0" + "00");
  const checksum = block.reduce((all, byte) => all + byte, 0);
  put(148, checksum.toString(8).padStart(6, "0") + "\0 ");
  return block;
}

function octal(value: number): string {
  return value.toString(8).padStart(11, "0") + "\0";
}

/** `length key=value`: the length counts its own digits. */
function record(key: string, value: string): string {
  const rest = utf8.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length += 1;
  return `${length} ${key}=${value}\n`;
}

function filling(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}
