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
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readyState = 0;
  sent: (string | Uint8Array)[] = [];
  onopen: (() => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onmessage: ((event: { data: string | ArrayBuffer }) => void) | null = null;
  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  async open(): Promise<void> {
    this.readyState = 1;
    this.onopen?.();
    await settled();
  }
  say(data: string | ArrayBuffer): void {
    this.onmessage?.({ data });
  }
  send(data: string | Uint8Array): void {
    this.sent.push(data);
  }
  close(code = 1000): void {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
}

/** What a channel's reader heard. */
class Reader {
  heard: (string | number[] | { code: number })[] = [];
  message(data: string | Uint8Array): void {
    this.heard.push(typeof data === "string" ? data : [...data]);
  }
  closed(code: number): void {
    this.heard.push({ code });
  }
}

let online: () => void = () => undefined;
let module: typeof import("./socket");

const settled = () => vi.advanceTimersByTimeAsync(0);
const bytes = (text: string) => new TextEncoder().encode(text).buffer as ArrayBuffer;
const openChannel = async (name: string, reader: Reader) => {
  const opening = module.Channel.open(name, { client: "c" }, reader, () => true);
  await settled();
  if (FakeSocket.all.at(-1)!.readyState === 0) await FakeSocket.all.at(-1)!.open();
  return (await opening)!;
};

beforeEach(async () => {
  vi.useFakeTimers();
  vi.resetModules();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("addEventListener", (_: string, listener: () => void) => (online = listener));
  FakeSocket.all = [];
  module = await import("./socket");
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("terminals and events share one socket", async () => {
  const follower = { event: vi.fn(), lost: vi.fn() };
  module.follow(follower);
  const [main, other] = [new Reader(), new Reader()];
  const channel = await openChannel("main", main);
  await openChannel("ü b", other);
  expect(FakeSocket.all.map((each) => each.url)).toEqual(["ws://here/s/ws"]);
  const socket = FakeSocket.all[0]!;
  socket.say('\n{"type":"status"}');
  socket.say('main\n{"type":"attached"}');
  socket.say(bytes("ü b\nline\nfeeds"));
  expect(follower.event).toHaveBeenCalledWith({ type: "status" });
  expect(main.heard).toEqual(['{"type":"attached"}']);
  expect(other.heard).toEqual([[...new TextEncoder().encode("line\nfeeds")]]);
  channel.send(Uint8Array.of(1, 2));
  expect(socket.sent).toEqual([
    'main\n{"type":"attach","client":"c"}',
    'ü b\n{"type":"attach","client":"c"}',
    new Uint8Array([...new TextEncoder().encode("main\n"), 1, 2]),
  ]);
  socket.close(1006);
  expect([main.heard.at(-1), other.heard.at(-1)]).toEqual([{ code: 1006 }, { code: 1006 }]);
  expect(follower.lost).toHaveBeenCalledTimes(1);
});

test("what was said to a channel that was left is not taken for the next one's", async () => {
  const [first, second] = [new Reader(), new Reader()];
  const channel = await openChannel("main", first);
  const socket = FakeSocket.all[0]!;
  channel.close();
  const opening = module.Channel.open("main", {}, second, () => true);
  await settled();
  socket.say(bytes("main\nlate"));
  expect(socket.sent.length).toBe(2);
  socket.say('main\n{"type":"closed","code":1000,"reason":""}');
  await opening;
  socket.say('main\n{"type":"attached"}');
  socket.say('main\n{"type":"closed","code":4410,"reason":"over"}');
  expect(first.heard).toEqual([]);
  expect(second.heard).toEqual(['{"type":"attached"}', { code: 4410 }]);
  expect(FakeSocket.all.length).toBe(1);
});

test("a socket that never says that a terminal was left is given up", async () => {
  const other = new Reader();
  const channel = await openChannel("main", new Reader());
  await openChannel("other", other);
  channel.close();
  const opening = module.Channel.open("main", {}, new Reader(), () => true);
  await vi.advanceTimersByTimeAsync(11_000);
  expect(other.heard).toEqual([{ code: 1006 }]);
  await FakeSocket.all[1]!.open();
  expect(await opening).not.toBeNull();
});

test("a socket that is refused says why to everybody who waits for it", async () => {
  const opening = [
    module.Channel.open("main", {}, new Reader(), () => true),
    module.Channel.open("other", {}, new Reader(), () => true),
  ].map((each) => each.catch((error: unknown) => (error as { code: number }).code));
  await settled();
  FakeSocket.all[0]!.close(1013);
  expect(await Promise.all(opening)).toEqual([1013, 1013]);
  expect(FakeSocket.all.length).toBe(1);
});

test("a socket that does not open is given up in time, and at once on another network", async () => {
  module.follow({ event: () => undefined, lost: () => undefined });
  for (const giveUp of [() => vi.advanceTimersByTimeAsync(15_000), async () => online()]) {
    const opening = module.connect().catch((error: unknown) => (error as { code: number }).code);
    await settled();
    await giveUp();
    expect(await opening).toBe(1000);
  }
});

test("while other terminals are heard of, one that is left slowly is waited for", async () => {
  const other = new Reader();
  const channel = await openChannel("main", new Reader());
  await openChannel("other", other);
  const socket = FakeSocket.all[0]!;
  channel.close();
  const opening = module.Channel.open("main", {}, new Reader(), () => true);
  for (let second = 0; second < 30; second += 1) {
    await vi.advanceTimersByTimeAsync(1000);
    socket.say(bytes("other\n."));
  }
  socket.say('main\n{"type":"closed","code":1000,"reason":""}');
  expect(await opening).not.toBeNull();
  expect(FakeSocket.all.length).toBe(1);
});

test("the events' link comes back, more slowly each time", async () => {
  vi.stubGlobal("document", { addEventListener: () => undefined, visibilityState: "visible" });
  const link = await import("./events-link");
  const names = vi.fn();
  link.followEvents(names);
  await settled();
  for (let loss = 1; loss <= 5; loss += 1) {
    await FakeSocket.all.at(-1)!.open();
    expect(link.eventsConnected.value).toBe(false);
    FakeSocket.all.at(-1)!.close(1013);
    expect(FakeSocket.all.length).toBe(loss);
    const began = performance.now();
    while (FakeSocket.all.length === loss) await vi.advanceTimersByTimeAsync(100);
    expect(performance.now() - began).toBeLessThan(60_000);
  }
  await FakeSocket.all.at(-1)!.open();
  FakeSocket.all.at(-1)!.say('\n{"type":"terminals","data":{"names":["main"]}}');
  expect(link.eventsConnected.value).toBe(true);
  expect(names).toHaveBeenCalledWith(["main"]);
});
