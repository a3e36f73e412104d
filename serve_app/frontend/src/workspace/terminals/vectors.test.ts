/** The protocol step by step, from the file that the Python client and CODI are tested with as well. */

import { expect, test } from "vitest";
import vectors from "../../../../../tests/vectors/terminal_protocol.json";
import { type Effect, TerminalConnection } from "./connection";

type Step =
  | {
      do: "connect";
      query: { offset: number | null; input_offset: number };
      attached: { output_offset: number; input_offset: number };
      resent: string;
      gap: number;
    }
  | { do: "output"; data: string; shown: string }
  | { do: "type"; data: string; sent: string }
  | { do: "ack"; offset: number }
  | { do: "lose" | "print" | "forget" | "end" };

const bytes = (text: string) => new TextEncoder().encode(text);
const data = (effects: Effect[], kind: "send" | "show") =>
  effects.map((each) => (each.do === kind ? new TextDecoder().decode(each.data) : "")).join("");
const lost = (effects: Effect[]) =>
  effects.map((e) => (e.do === "mark" && e.mark.type === "truncated" ? e.mark.bytes : 0));
const start = () =>
  new TerminalConnection({ client: "c", inputOffset: 0, unacknowledged: new Uint8Array() }, null);

test.each(vectors.scenarios.map((each) => [each.name, each.steps as Step[]] as const))(
  "%s",
  (_, steps) => {
    const link = start();
    for (const step of steps) {
      switch (step.do) {
        case "connect": {
          const { client, offset, input_offset } = link.query();
          expect(client).toBe("c");
          expect(offset === undefined ? null : Number(offset)).toBe(step.query.offset);
          expect(Number(input_offset)).toBe(step.query.input_offset);
          link.connecting();
          const effects = link.text(JSON.stringify({ type: "attached", ...step.attached }));
          expect(data(effects, "send")).toBe(step.resent);
          expect(Math.max(...lost(effects).map(Number))).toBe(step.gap);
          break;
        }
        case "output":
          expect(data(link.binary(bytes(step.data)), "show")).toBe(step.shown);
          break;
        case "type":
          expect(data(link.input(bytes(step.data)), "send")).toBe(step.sent);
          break;
        case "ack":
          link.text(JSON.stringify({ type: "input_ack", offset: step.offset }));
          break;
        case "lose":
          link.closed(1006, "", 0);
      }
    }
  },
);

test.each(Object.entries(vectors.closes))("%s: %s", (code, end) => {
  const link = start();
  link.text(JSON.stringify({ type: "attached", output_offset: 0, input_offset: 0 }));
  const retries = link.closed(Number(code), "", 0).some((each) => each.do === "retry");
  expect(retries ? "retry" : "final").toBe(end);
});
