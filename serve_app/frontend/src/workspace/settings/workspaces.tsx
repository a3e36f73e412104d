import { Form } from "../../ui/form-dialog";
import { say } from "../../ui/toasts";
import { prefer, preferences } from "./account";
import { useList } from "./list";

export function WorkspacesSection() {
  const { found, problem, again } = useList(preferences);
  if (problem !== null) {
    return (
      <p class="notice bad" role="alert">
        {problem}
      </p>
    );
  }
  if (found === null) return <p class="dialog-text">Reading…</p>;
  const send = async (values: Record<string, string>) => {
    const chosen = (name: string) => values[name]?.trim() || null;
    await prefer({ dotfiles_repository: chosen("dotfiles"), shell: chosen("shell"), time_zone: chosen("zone") });
    say("Saved: shells that start from now on have it.");
    await again();
  };
  return (
    <Form key={JSON.stringify(found)} action="Save" testId="preferences-save" send={send}>
      <p class="dialog-text">What is left empty is as the server has it.</p>
      <label class="field">
        <span>Time zone</span>
        <input class="input" name="zone" list="time-zones" defaultValue={found.time_zone ?? ""} placeholder="Europe/Berlin" autocomplete="off" />
        <datalist id="time-zones">
          {Intl.supportedValuesOf("timeZone").map((zone) => (
            <option key={zone} value={zone} />
          ))}
        </datalist>
      </label>
      <label class="field">
        <span>Shell</span>
        <input class="input mono" name="shell" defaultValue={found.shell ?? ""} placeholder="/bin/bash" spellcheck={false} autocomplete="off" />
      </label>
      <label class="field">
        <span>Repository with dotfiles</span>
        <input
          class="input mono"
          name="dotfiles"
          defaultValue={found.dotfiles_repository ?? ""}
          placeholder="https://github.com/you/dotfiles.git"
          spellcheck={false}
          autocomplete="off"
        />
      </label>
      <p class="dialog-text">
        It is cloned to <code>~/.dotfiles</code> when a new workspace first starts, and its install script is run; what
        that prints is in <code>~/.local/state/coditect/dotfiles.log</code>.
      </p>
    </Form>
  );
}
