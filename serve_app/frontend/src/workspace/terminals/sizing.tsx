/** The terminal's size, by which rule it has it and of whose window, and the choice of another rule. */

import { signal } from "@preact/signals";
import { SIZING_RULES, type SizingRule, type TerminalWindow } from "./connection";
import { Dialog } from "../../ui/dialog";
import { activeTab, type TerminalTab, titleOf } from "./terminals";
import "./sizing.css";

const open = signal(false);

const RULES: Record<SizingRule, { label: string; text: string }> = {
  latest: { label: "The window used last", text: "Whoever types gets their own size." },
  smallest: { label: "The smallest", text: "Every window shows all of the terminal." },
  largest: { label: "The largest", text: "Smaller windows show a part and scroll." },
};

/** In the status bar: the size and, where there is more than one to choose from, the rule; opens the rest. */
export function SizeItem({ tab }: { tab: TerminalTab }) {
  const { cols, rows } = tab.view.size.value;
  const sizing = tab.link.sizing.value;
  if (tab.link.phase.value.at !== "attached" || sizing === null) {
    return (
      <span class="status-item wide-only" title="Columns and rows of the terminal">
        {cols}×{rows}
      </span>
    );
  }
  const foreign = tab.view.foreign.value;
  const matters = foreign || sizing.rule !== "latest" || sizing.windows.length > 1;
  return (
    <span class={`status-item ${matters ? "" : "wide-only"}`} data-testid={foreign ? "foreign-size" : undefined}>
      <button
        type="button"
        class="status-action quiet"
        data-testid="size"
        aria-haspopup="dialog"
        title={`Columns and rows. ${ofWhom(sizing.windows)}`}
        onClick={() => (open.value = true)}
      >
        {cols}×{rows}
        {matters && ` ${sizing.rule}`}
      </button>
      {foreign && sizing.rule === "latest" && (
        <button
          type="button"
          class="status-action"
          data-testid="use-size"
          title="The terminal has the size of the window that was used last"
          onClick={() => tab.view.takeSize()}
        >
          use this size
        </button>
      )}
    </span>
  );
}

function ofWhom(windows: TerminalWindow[]): string {
  const names = windows.filter((each) => each.sets).map(nameOf);
  return names.length > 0 ? `The size follows ${names.join(" and ")}.` : "No window shows it.";
}

function nameOf(window: TerminalWindow): string {
  return window.own ? "this window" : window.label || "a program";
}

export function SizingDialog() {
  const tab = activeTab.value;
  const sizing = tab?.link.sizing.value;
  if (!open.value || !tab || !sizing) return null;
  return (
    <Dialog title={`Size of ${titleOf(tab.name)}`} onClose={() => (open.value = false)}>
      <fieldset class="choices" data-testid="sizing">
        <legend>Several windows may show a terminal; it has one size, by</legend>
        {SIZING_RULES.map((rule) => (
          <label key={rule} class="choice">
            <input
              type="radio"
              name="sizing"
              value={rule}
              checked={sizing.rule === rule}
              onChange={() => tab.link.chooseSizing(rule)}
            />
            <span>
              {RULES[rule].label}
              <small>{RULES[rule].text}</small>
            </span>
          </label>
        ))}
      </fieldset>
      <table class="windows" data-testid="sizing-windows">
        <caption>Windows that show it now</caption>
        <tbody>
          {sizing.windows.map((window, index) => (
            <tr key={index}>
              <th scope="row">{capitalised(nameOf(window))}</th>
              <td>
                {window.cols}×{window.rows}
              </td>
              <td>{window.sets && "sets the size"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Dialog>
  );
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
