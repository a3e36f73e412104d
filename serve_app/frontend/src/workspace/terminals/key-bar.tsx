import { arrowKey } from "./emulator/text";
import type { TerminalTab } from "./terminals";
import "./key-bar.css";

/** Keys that a phone's keyboard lacks. Pressing them leaves the keyboard where it is. */
export function KeyBar({ tab }: { tab: TerminalTab }) {
  const { view } = tab;
  const arrow = (direction: "A" | "B" | "C" | "D") => () =>
    view.typed(arrowKey(direction, view.applicationCursor));
  const keys: [string, string, () => void][] = [
    ["Esc", "Esc", () => view.typed("\x1b")],
    ["Tab", "Tab", () => view.typed("\t")],
    ["↑", "Up", arrow("A")],
    ["↓", "Down", arrow("B")],
    ["←", "Left", arrow("D")],
    ["→", "Right", arrow("C")],
    ["|", "Pipe", () => view.typed("|")],
    ["/", "Slash", () => view.typed("/")],
    ["-", "Minus", () => view.typed("-")],
    ["~", "Tilde", () => view.typed("~")],
    ["^C", "Interrupt", () => view.typed("\x03")],
  ];
  return (
    <div class="key-bar" role="toolbar" aria-label="Terminal keys">
      <button
        type="button"
        aria-pressed={view.stickyControl.value}
        onPointerDown={(event) => event.preventDefault()}
        onClick={() => {
          view.stickyControl.value = !view.stickyControl.value;
        }}
      >
        Ctrl
      </button>
      {keys.map(([label, name, press]) => (
        <button
          key={label}
          type="button"
          aria-label={name}
          onPointerDown={(event) => event.preventDefault()}
          onClick={press}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
