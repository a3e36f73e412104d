/** The settings of an account, by section. Loaded when they are first opened. */

import { useId } from "preact/hooks";
import { Dialog } from "../../ui/dialog";
import { EnvironmentSection } from "./environment";
import { type SectionId, settingsSection } from "./open";
import { PasswordSection } from "./password";
import { SshSection } from "./ssh-keys";
import { WorkspacesSection } from "./workspaces";
import "./settings.css";

const SECTIONS: [SectionId, string, () => preact.JSX.Element][] = [
  ["environment", "Variables and secrets", EnvironmentSection],
  ["ssh", "SSH keys", SshSection],
  ["workspaces", "New shells", WorkspacesSection],
  ["password", "Password", PasswordSection],
];

export default function Settings() {
  const panel = useId();
  const now = SECTIONS.find(([id]) => id === settingsSection.value) ?? SECTIONS[0]!;
  const [shown, , View] = now;
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = SECTIONS[(SECTIONS.indexOf(now) + step + SECTIONS.length) % SECTIONS.length]!;
    settingsSection.value = to[0];
    const list = event.currentTarget as HTMLElement;
    requestAnimationFrame(() => list.querySelector<HTMLElement>('[aria-selected="true"]')?.focus());
  };
  return (
    <Dialog title="Settings" size="settings-dialog" onClose={() => (settingsSection.value = null)}>
      <div class="settings" data-testid="settings">
        <div class="settings-sections" role="tablist" aria-label="Settings" onKeyDown={onKeyDown}>
          {SECTIONS.map(([id, label]) => (
            <button
              key={id}
              type="button"
              role="tab"
              aria-selected={id === shown}
              aria-controls={panel}
              tabIndex={id === shown ? 0 : -1}
              onClick={() => (settingsSection.value = id)}
            >
              {label}
            </button>
          ))}
        </div>
        <div id={panel} class="settings-panel" role="tabpanel" aria-label={now[1]} tabIndex={0}>
          <View key={shown} />
        </div>
      </div>
    </Dialog>
  );
}
