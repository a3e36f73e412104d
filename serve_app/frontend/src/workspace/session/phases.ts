/** A session's phases in words, and the colour of their dot. Pure. */

export interface Say {
  dot: "ok" | "warn" | "bad" | "";
  text: string;
}

export const PHASES: Record<string, Say> = {
  starting: { dot: "warn", text: "Starting" },
  ready: { dot: "ok", text: "Ready" },
  recovering: { dot: "warn", text: "Recovering" },
  hibernating: { dot: "warn", text: "Going to sleep" },
  hibernated: { dot: "", text: "Asleep" },
  ending: { dot: "warn", text: "Ending" },
  ended: { dot: "", text: "Ended" },
  failed: { dot: "bad", text: "Failed" },
};
