/** Messages of programs beside their text, in operating system commands (OSC; xterm's ctlseqs). Pure. */

/** Most that a program may put on the clipboard, in bytes of its base64 form. */
export const MAX_CLIPBOARD = 4 << 20;
const MAX_PATH = 4096;

/** OSC 52, `selection;base64`: the text to copy; null for a question, which is never answered, or nonsense. */
export function clipboardText(data: string): string | null {
  const separator = data.indexOf(";");
  const encoded = data.slice(separator + 1);
  if (separator < 0 || encoded === "" || encoded === "?" || encoded.length > MAX_CLIPBOARD) return null;
  if (!/^[cpqs0-7]*$/.test(data.slice(0, separator))) return null;
  try {
    const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** OSC 7, `file://host/path`: the directory a shell is in; null for anything else. */
export function directoryOf(data: string): string | null {
  const encoded = /^file:\/\/[^/]*(\/.*)$/.exec(data)?.[1];
  if (encoded === undefined || encoded.length > MAX_PATH) return null;
  try {
    const path = decodeURIComponent(encoded);
    return /[\x00-\x1f\x7f-\x9f]/.test(path) ? null : path;
  } catch {
    return null;
  }
}

/** A link's address, if it leads to a place that a browser may be sent to from a terminal. */
export function safeLink(uri: string): string | null {
  try {
    const { protocol, href } = new URL(uri);
    return ["http:", "https:", "mailto:"].includes(protocol) ? href : null;
  } catch {
    return null;
  }
}
