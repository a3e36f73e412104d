import { afterEach, beforeEach, expect, test, vi } from "vitest";

const answers: ((body: unknown) => void)[] = [];
vi.mock("../../lib/api", async (original) => ({
  ...(await original<object>()),
  callJson: () => new Promise((resolve) => answers.push(resolve)),
}));
vi.stubGlobal("location", { pathname: "/workspaces/s-1", origin: "http://here" });

const { applyEvent, loadSession, resume, session } = await import("./session");

const STARTING = { session_id: "s-1", status: "starting", container_status: "starting", container_id: null, epoch: 1 };
const READY = { type: "status", data: { phase: "ready", container_status: "ready", container_id: "c-1", epoch: 1 } };

beforeEach(() => {
  session.value = { ...STARTING } as never;
});
afterEach(() => {
  answers.length = 0;
});

test("an answer that is older than an event does not undo it", async () => {
  const asked = loadSession();
  applyEvent(READY);
  answers[0]!({ ...STARTING, name: "default" });
  await asked;
  expect(session.value).toMatchObject({ status: "ready", container_id: "c-1", name: "default" });
});

test("nor does that of a request to resume", async () => {
  const asked = resume();
  applyEvent(READY);
  answers[0]!(STARTING);
  await asked;
  expect(session.value).toMatchObject({ status: "ready", container_id: "c-1" });
});

test("an answer that nothing has overtaken is taken", async () => {
  const asked = loadSession();
  answers[0]!({ ...STARTING, status: "recovering" });
  await asked;
  expect(session.value?.status).toBe("recovering");
});
