import { useRef, useState } from "preact/hooks";
import { confirm } from "../../ui/dialog";
import { Form } from "../../ui/form-dialog";
import { say, sayFailure } from "../../ui/toasts";
import { forget, type Secret, secrets, setSecret, setVariable, type Variable, variables } from "./account";
import { RowButton, SettingList, useList } from "./list";

type Entry = ({ kind: "variables" } & Variable) | ({ kind: "secrets" } & Secret);

export function EnvironmentSection() {
  const list = useList(entries);
  const [editing, setEditing] = useState<Entry | null>(null);
  const [secret, setSecretKind] = useState(true);
  const [round, setRound] = useState(0); // makes the form anew
  const form = useRef<HTMLDivElement>(null);
  const edit = (entry: Entry | null) => {
    setEditing(entry);
    setRound((before) => before + 1);
    if (entry) setSecretKind(entry.kind === "secrets");
    requestAnimationFrame(() => form.current?.querySelector<HTMLElement>(entry ? "textarea" : "input")?.focus());
  };
  const send = async ({ name = "", value = "", host = "" }: Record<string, string>) => {
    if (secret) await setSecret(name, value, host.trim() || null);
    else await setVariable(name, value);
    say(`Shells and programs that start from now on find ${name}.`);
    edit(null);
    await list.again();
  };
  const remove = async (entry: Entry) => {
    if (!(await confirm(`Delete ${entry.name}?`, "What runs keeps it; what starts from now on does not find it.", "Delete"))) return;
    try {
      await forget(entry.kind, entry.name);
    } catch (error) {
      sayFailure(`${entry.name} was not deleted`, error);
    }
    if (editing?.name === entry.name) edit(null);
    await list.again();
  };
  return (
    <>
      <p class="dialog-text">
        Shells and programs that start from now on find these in their environment, in all your workspaces. A secret is
        encrypted, and nobody is shown it again.
      </p>
      <SettingList
        list={list}
        none="There are none yet."
        row={(entry) => (
          <li key={entry.name}>
            <code class="setting-name">{entry.name}</code>
            <span class="setting-value">{entry.kind === "variables" ? <code>{entry.value}</code> : <SecretNote secret={entry} />}</span>
            <RowButton icon="edit" label={`Change ${entry.name}`} run={() => edit(entry)} />
            <RowButton icon="close" label={`Delete ${entry.name}`} run={() => void remove(entry)} />
          </li>
        )}
      />
      <div ref={form}>
        <Form
          key={round}
          action={editing ? "Change" : "Add"}
          testId="environment-save"
          send={send}
          {...(editing ? { onCancel: () => edit(null) } : {})}
        >
          <h3>{editing ? `Change ${editing.name}` : "Add one"}</h3>
          <div class="setting-fields">
            <label class="field">
              <span>Name</span>
              <input
                class="input mono"
                name="name"
                required
                pattern="[A-Za-z_][A-Za-z0-9_]*"
                title="Letters, digits and underscores; no digit first"
                maxLength={128}
                readOnly={editing !== null}
                defaultValue={editing?.name ?? ""}
                spellcheck={false}
                autocomplete="off"
                autocapitalize="characters"
              />
            </label>
            <label class="field">
              <span>Value</span>
              <textarea
                class={`input mono ${secret ? "hidden-text" : ""}`}
                name="value"
                rows={1}
                required={secret}
                defaultValue={editing?.kind === "variables" ? editing.value : ""}
                spellcheck={false}
                autocomplete="off"
              />
            </label>
            {secret && (
              <label class="field">
                <span>Only for this host</span>
                <input
                  class="input mono"
                  name="host"
                  placeholder="any (or api.example.com)"
                  defaultValue={editing?.kind === "secrets" ? (editing.host ?? "") : ""}
                  spellcheck={false}
                  autocomplete="off"
                />
              </label>
            )}
          </div>
          <label class="setting-check">
            <input
              type="checkbox"
              checked={secret}
              disabled={editing !== null}
              onChange={(event) => setSecretKind(event.currentTarget.checked)}
            />
            Secret: nobody is shown it again
          </label>
        </Form>
      </div>
    </>
  );
}

function SecretNote({ secret }: { secret: Secret }) {
  return (
    <>
      <span aria-hidden="true">••••••••</span>
      <span class="badge">secret</span>
      {secret.host && <span class="badge">only for {secret.host}</span>}
      {secret.locked && <span class="badge warn">its key is lost: set it anew</span>}
    </>
  );
}

async function entries(): Promise<Entry[]> {
  const [open, closed] = await Promise.all([variables(), secrets()]);
  return [
    ...open.map((each): Entry => ({ kind: "variables", ...each })),
    ...closed.map((each): Entry => ({ kind: "secrets", ...each })),
  ].sort((a, b) => (a.name < b.name ? -1 : 1));
}
