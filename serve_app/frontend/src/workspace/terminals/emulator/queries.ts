/**
 * What programs ask of a terminal. The emulator answers by typing, so only one of those that show a
 * terminal may, and none in output that is shown again: the questions are taken out before it sees them.
 */

import type { IDisposable, IParser } from "@xterm/xterm";

/** Reports of device attributes, status, modes, version and keyboard (ECMA-48; xterm's ctlseqs). */
const CSI = [
  { final: "c" },
  { prefix: ">", final: "c" },
  { prefix: "=", final: "c" },
  { final: "n" },
  { prefix: "?", final: "n" },
  { prefix: ">", final: "q" },
  { prefix: "?", final: "u" },
  { intermediates: "$", final: "p" },
  { prefix: "?", intermediates: "$", final: "p" },
];

/** Reports of settings (DECRQSS) and of capabilities (XTGETTCAP). */
const DCS = [
  { intermediates: "$", final: "q" },
  { intermediates: "+", final: "q" },
];

/** Window operations that report something, by their first parameter (CSI … t). */
const REPORTS = new Set([11, 13, 14, 15, 16, 18, 19, 20, 21]);

/** Colours: a "?" in place of one asks for it. */
const COLOURS = [4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

/** Sent when it gets or loses the focus, and at once when a program asks for that. */
const FOCUS = /^\x1b\[[IO]$/;

export interface Queries extends IDisposable {
  /** True if this text from the emulator may be typed. */
  pass(text: string): boolean;
  /** True if the emulator, asked by what it draws now, answers with its next text. */
  takeAsked(): boolean;
}

/** Take out of what is drawn what asks for an answer, unless `live` says that one is wanted. */
export function guardQueries(parser: IParser, live: () => boolean): Queries {
  let asked = false;
  const take = () => {
    asked = live();
    return !asked;
  };
  const disposables = [
    ...CSI.map((id) => parser.registerCsiHandler(id, take)),
    ...DCS.map((id) => parser.registerDcsHandler(id, take)),
    ...COLOURS.map((code) =>
      parser.registerOscHandler(code, (data) => data.includes("?") && take()),
    ),
    parser.registerCsiHandler({ final: "t" }, ([first]) => REPORTS.has(Number(first)) && take()),
    parser.registerEscHandler({ final: "Z" }, take),
  ];
  return {
    pass: (text) => live() || !FOCUS.test(text),
    takeAsked: () => {
      const was = asked;
      asked = false;
      return was;
    },
    dispose: () => disposables.forEach((each) => each.dispose()),
  };
}
