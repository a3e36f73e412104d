import { expect, test } from "vitest";
import { Topic } from "./topic";

test("all subscribers get each value, until their subscription ends", () => {
  const topic = new Topic<[string]>();
  const calls: string[] = [];
  const end = topic.subscribe((value) => calls.push(`first ${value}`));
  topic.subscribe((value) => calls.push(`second ${value}`));
  topic.emit("a");
  end();
  topic.emit("b");
  expect(calls).toEqual(["first a", "second a", "second b"]);
});

test("a subscription that ends while values are emitted skips nobody", () => {
  const topic = new Topic();
  const calls: number[] = [];
  const end = topic.subscribe(() => end());
  topic.subscribe(() => calls.push(2));
  topic.emit();
  expect(calls).toEqual([2]);
});
