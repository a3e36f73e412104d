import { afterEach, beforeEach, expect, test, vi } from "vitest";

vi.mock("../../lib/api", async (original) => ({
  ...(await original<typeof import("../../lib/api")>()),
  socketUrl: (path: string) => Promise.resolve(`ws://here${path}`),
}));
vi.mock("./session", () => ({
  applyEvent: vi.fn(),
  loadSession: vi.fn(() => Promise.resolve()),
  phase: { value: "ready" },
  sessionPath: "/s",
}));

class FakeSocket {
  static all: FakeSocket[] = [];
  closed = false;
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  close(): void {
    this.closed = true;
  }
}

let link: typeof import("./events-link");
let session: typeof import("./session");

beforeEach(async () => {
  vi.useFakeTimers();
  vi.resetModules();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("addEventListener", () => undefined);
  vi.stubGlobal("document", { addEventListener: () => undefined, visibilityState: "visible" });
  FakeSocket.all = [];
  link = await import("./events-link");
  session = await import("./session");
  vi.mocked(session.applyEvent).mockClear();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a terminal's socket that brings events spares a socket of their own", async () => {
  const terminal = {};
  const names = vi.fn();
  link.followEvents(names);
  expect(link.mayCarry(terminal)).toBe(true);
  expect(link.mayCarry({})).toBe(false);
  link.carried(terminal, { type: "terminals", data: { names: ["main"] } });
  await vi.advanceTimersByTimeAsync(10_000);
  expect(FakeSocket.all).toEqual([]);
  expect(link.eventsConnected.value).toBe(true);
  expect(names).toHaveBeenCalledWith(["main"]);
});

test("without one they have a socket, until a terminal brings them", async () => {
  link.followEvents(() => undefined);
  await vi.advanceTimersByTimeAsync(2000);
  const [own] = FakeSocket.all;
  own!.onopen?.();
  expect(link.eventsConnected.value).toBe(true);
  const terminal = {};
  link.mayCarry(terminal);
  expect(own!.closed).toBe(false);
  link.carried(terminal, { type: "status" });
  expect(own!.closed).toBe(true);
  link.carried({}, { type: "saved" }); // of a socket that is not asked
  expect(session.applyEvent).toHaveBeenCalledTimes(1);
  link.endCarrying(terminal);
  expect(link.eventsConnected.value).toBe(false);
  await vi.advanceTimersByTimeAsync(2000);
  expect(FakeSocket.all.length).toBe(2);
});
