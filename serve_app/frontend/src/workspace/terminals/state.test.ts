/** The states that the server gives in place of output which is not kept, tried on a real emulator. */

import { Terminal } from "@xterm/headless";
import { expect, test } from "vitest";
import vectors from "../../../../../tests/unit/codi/terminal_modes.json";
import { RESET_MODES } from "./emulator/text";

/** Shows what modes, colours, character sets, tab stops and scroll regions do to what comes. */
const PROBE = "\x1b[2J\r\tq\x1b[1;1Hfirst\x1b[22;1Hlast\x1b[24;1H\n\n\nend\x1b[31Xx";

async function shown(text: string): Promise<unknown> {
  const terminal = new Terminal({ allowProposedApi: true });
  let title = "";
  terminal.onTitleChange((to) => (title = to));
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  terminal.write(bytes);
  await new Promise<void>((done) => terminal.write(PROBE, done));
  const buffer = terminal.buffer.active;
  const lines = Array.from({ length: terminal.rows }, (_, y) =>
    buffer.getLine(buffer.baseY + y)!.translateToString(true),
  );
  const cell = buffer.getLine(buffer.baseY + buffer.cursorY)!.getCell(buffer.cursorX - 1)!;
  const style = {
    colours: [cell.getFgColorMode(), cell.getFgColor(), cell.getBgColorMode(), cell.getBgColor()],
    styles: [cell.isBold(), cell.isDim(), cell.isItalic(), cell.isUnderline(), cell.isInverse()],
  };
  // A frame that is being drawn is none of the state: who waits for its end might wait long.
  const modes = { ...terminal.modes, synchronizedOutputMode: false };
  return { buffer: buffer.type, modes, lines, style, title };
}

test.each(vectors.map((each) => [each.name, each] as const))("%s", async (_, { output, state }) => {
  expect(await shown(RESET_MODES + state)).toEqual(await shown(output));
});
