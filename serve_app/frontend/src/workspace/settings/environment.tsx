import { useRef, useState } from "preact/hooks";
import { confirm } from "../../ui/dialog";
import { Form } from "../../ui/form-dialog";
import { say, sayFailure } from "../../ui/toasts";
import { type Binding, forget, type Secret, type SecretUse, secrets, setSecret, setVariable, type Variable, variables } from "./account";
import { RowButton, SettingList, useList } from "./list";

type Entry = ({ kind: "variables" } & Variable) | ({ kind: "secrets" } & Secret);

export function EnvironmentSection() {
  const list = useList(entries);
  const [editing, setEditing] = useState<Entry | null>(null);
  const [secret, setSecretKind] = useState(true);
  const [host, setHost] = useState("");
  const [use, setUse] = useState<SecretUse>("bearer");
  const [round, setRound] = useState(0); // makes the form anew
  const form = useRef<HTMLDivElement>(null);
  const edit = (entry: Entry | null) => {
    setEditing(entry);
    setRound((before) => before + 1);
    if (entry) setSecretKind(entry.kind === "secrets");
    const bound = entry?.kind === "secrets" ? entry : null;
    setHost(bound?.host ?? "");
    setUse(bound?.use ?? "bearer");
    requestAnimationFrame(() => form.current?.querySelector<HTMLElement>(entry ? "textarea" : "input")?.focus());
  };
  const send = async ({ name = "", value = "", ...rest }: Record<string, string>) => {
    const bound = secret ? binding(host, use, rest) : null;
    if (secret) await setSecret(name, value, bound);
    else await setVariable(name, value);
    say(
      bound
        ? `Requests to ${bound.host} get ${name}, and no program finds it.`
        : `Shells and programs that start from now on find ${name}.`,
    );
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
  const isBound = secret && host.trim() !== "";
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
                  placeholder="any (or api.example.com)"
                  value={host}
                  onInput={(event) => setHost(event.currentTarget.value)}
                  spellcheck={false}
                  autocomplete="off"
                />
              </label>
            )}
            {isBound && <BindingFields of={editing?.kind === "secrets" ? editing : null} use={use} onUse={setUse} />}
          </div>
          {isBound && (
            <p class="dialog-text">
              No program finds it: the way out of your workspaces adds it to each request to this host. For HTTPS it opens the
              connections to this host, and to no other, with a certificate that your workspaces trust. A host that repeats
              what it was sent shows it to whoever asks.
            </p>
          )}
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

function BindingFields(props: { of: Secret | null; use: SecretUse; onUse: (use: SecretUse) => void }) {
  const plain = { class: "input mono", required: true, spellcheck: false, autocomplete: "off" };
  return (
    <>
      <label class="field">
        <span>Requests by</span>
        <select class="input" name="scheme" defaultValue={props.of?.use && !props.of.https ? "http" : "https"}>
          <option value="https">HTTPS</option>
          <option value="http">plain HTTP, which everybody on the way can read</option>
        </select>
      </label>
      <label class="field">
        <span>Added as</span>
        <select
          class="input"
          value={props.use}
          onChange={(event) => props.onUse(event.currentTarget.value as SecretUse)}
        >
          <option value="bearer">Authorization: Bearer</option>
          <option value="basic">user name and password (git over HTTPS)</option>
          <option value="header">a header of its own</option>
        </select>
      </label>
      {props.use === "basic" && (
        <label class="field">
          <span>User name</span>
          <input {...plain} name="username" maxLength={128} defaultValue={props.of?.username ?? ""} />
        </label>
      )}
      {props.use === "header" && (
        <label class="field">
          <span>Header</span>
          <input {...plain} name="header" maxLength={64} placeholder="X-Api-Key" defaultValue={props.of?.header ?? ""} />
        </label>
      )}
    </>
  );
}

function binding(host: string, use: SecretUse, fields: Record<string, string>): Binding | null {
  if (host.trim() === "") return null;
  const bound: Binding = { host: host.trim(), use, https: fields.scheme !== "http" };
  if (use === "basic") bound.username = fields.username ?? "";
  if (use === "header") bound.header = fields.header ?? "";
  return bound;
}

function addedAs(secret: Secret): string {
  const way = secret.https ? "HTTPS" : "plain HTTP";
  if (secret.use === "basic") return `${way}, password of ${secret.username}`;
  return secret.use === "header" ? `${way}, ${secret.header}` : `${way}, Bearer`;
}

function SecretNote({ secret }: { secret: Secret }) {
  return (
    <>
      <span aria-hidden="true">••••••••</span>
      <span class="badge">secret</span>
      {secret.host && <span class="badge">only for {secret.host}</span>}
      {secret.use && <span class="badge">{addedAs(secret)}</span>}
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
