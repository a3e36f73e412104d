import { useState } from "preact/hooks";
import { call } from "../lib/api";
import { formatAgo, seconds } from "../lib/format";
import { Scroll } from "../ui/scroll";
import { describe, parseLimit, type Resource, RESOURCES, table } from "../lib/usage";
import { confirm } from "../ui/dialog";
import { FormDialog, Problem } from "../ui/form-dialog";
import { say, sayFailure } from "../ui/toasts";
import { audit, emailOf, lookAtUsers, me, type User, users } from "./data";

export function UsersSection() {
  const [adding, setAdding] = useState(false);
  const [limiting, setLimiting] = useState<User | null>(null);
  const all = users.value;
  return (
    <section class="card" aria-labelledby="users">
      <header>
        <h2 id="users">
          Users <span class="count">{all?.length ?? ""}</span>
        </h2>
        <button type="button" class="button small primary" onClick={() => setAdding(true)}>
          Add user
        </button>
      </header>
      {all === null ? (
        <p class="empty">Reading…</p>
      ) : (
        <Scroll label="Users" tall>
          <table>
            <thead>
              <tr>
                <th>Email</th>
                <th>Role</th>
                <th>Since</th>
                <th>Files</th>
                <th>Containers</th>
                <th>
                  <span class="visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {all.map((user) => (
                <UserRow key={user.user_id} user={user} onLimit={() => setLimiting(user)} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {adding && <AddUser onClose={() => setAdding(false)} />}
      {limiting && <EditQuotas user={limiting} onClose={() => setLimiting(null)} />}
    </section>
  );
}

function UserRow({ user, onLimit }: { user: User; onLimit: () => void }) {
  const own = user.user_id === me.value?.user_id;
  const since = seconds(user.created_at);
  return (
    <tr class={user.disabled ? "dim" : ""}>
      <td class="strong">
        <span class="long" title={user.email}>
          {user.email}
        </span>{" "}
        {own && <span class="badge">you</span>}{" "}
        {user.disabled && <span class="badge bad">disabled</span>}
      </td>
      <td>
        <select
          aria-label={`Role of ${user.email}`}
          value={user.role}
          disabled={own}
          onChange={(event) => void change(user, { role: event.currentTarget.value })}
        >
          <option value="user">user</option>
          <option value="admin">admin</option>
        </select>
      </td>
      <td>{since === null ? "–" : formatAgo(Date.now() / 1000, since)}</td>
      <UsedCell user={user} resource="file_bytes" />
      <UsedCell user={user} resource="containers" />
      <td class="actions">
        <button type="button" class="button small" onClick={onLimit}>
          Quotas…
        </button>{" "}
        <button
          type="button"
          class={`button small ${user.disabled ? "" : "danger"}`}
          disabled={own}
          onClick={() => void toggle(user)}
        >
          {user.disabled ? "Enable" : "Disable…"}
        </button>
      </td>
    </tr>
  );
}

function UsedCell({ user, resource }: { user: User; resource: Resource }) {
  const used = user.usage?.[resource];
  if (!used) return <td>–</td>;
  const full = used.limit !== null && used.used >= used.limit;
  return (
    <td title={user.usage ? table(user.usage) : undefined}>
      <span class={full ? "badge bad" : ""}>{describe(resource, used)}</span>
    </td>
  );
}

function EditQuotas({ user, onClose }: { user: User; onClose: () => void }) {
  const send = async (values: Record<string, string>) => {
    const quotas: Record<string, number | null> = {};
    for (const [name, text] of Object.entries(values)) {
      const limit = parseLimit(text);
      if (limit === undefined) {
        throw new Problem(`"${text}" is no amount: 500, 128M, 20G, 0 for no limit`);
      }
      quotas[name] = limit;
    }
    await call("PATCH", `/api/admin/users/${encodeURIComponent(user.user_id)}`, { json: { quotas } });
    await lookAtUsers().catch(() => undefined);
  };
  return (
    <FormDialog title={`Quotas of ${user.email}`} action="Save" onClose={onClose} send={send}>
      <p>Empty: as the server's settings say. 0: no limit.</p>
      {RESOURCES.map(({ name, label }) => (
        <label key={name} class="field">
          <span>{label}</span>
          <input
            class="input"
            name={name}
            inputMode="numeric"
            autocomplete="off"
            defaultValue={String(user.quotas?.[name] ?? "")}
            placeholder={user.usage ? describe(name, user.usage[name]) : ""}
          />
        </label>
      ))}
    </FormDialog>
  );
}

async function toggle(user: User): Promise<void> {
  const text = `${user.email} cannot sign in any more. Sessions and files are kept.`;
  if (!user.disabled && !(await confirm("Disable this user?", text, "Disable"))) return;
  await change(user, { disabled: !user.disabled });
}

async function change(user: User, what: Record<string, unknown>): Promise<void> {
  try {
    await call("PATCH", `/api/admin/users/${encodeURIComponent(user.user_id)}`, { json: what });
  } catch (error) {
    sayFailure(`${user.email} was not changed`, error);
  }
  await lookAtUsers().catch(() => undefined);
}

function AddUser({ onClose }: { onClose: () => void }) {
  const send = async (json: Record<string, string>) => {
    await call("POST", "/api/admin/users", { json });
    say(`${json["email"]} can sign in now.`);
    await lookAtUsers().catch(() => undefined);
  };
  return (
    <FormDialog title="Add user" action="Add user" onClose={onClose} send={send}>
      <label class="field">
        <span>Email</span>
        <input class="input" name="email" type="email" required autofocus autocomplete="off" />
      </label>
      <label class="field">
        <span>Password</span>
        <input
          class="input"
          name="password"
          type="password"
          required
          minLength={8}
          autocomplete="new-password"
        />
      </label>
      <label class="field">
        <span>Role</span>
        <select class="input" name="role">
          <option value="user">user</option>
          <option value="admin">admin</option>
        </select>
      </label>
    </FormDialog>
  );
}

export function AuditSection() {
  const entries = audit.value;
  return (
    <section class="card" aria-labelledby="audit">
      <header>
        <h2 id="audit">Audit trail</h2>
      </header>
      {entries === null ? (
        <p class="empty">Reading…</p>
      ) : entries.length === 0 ? (
        <p class="empty">Nothing was written yet.</p>
      ) : (
        <Scroll label="Audit trail" tall>
          <table>
            <thead>
              <tr>
                <th>When</th>
                <th>Who</th>
                <th>What</th>
                <th>From</th>
                <th>Result</th>
              </tr>
            </thead>
            <tbody>
              {entries.map((entry, index) => (
                <tr key={index}>
                  <td>{timeOf(entry.timestamp)}</td>
                  <td>
                    <span class="long" title={emailOf(entry.user_id)}>
                      {emailOf(entry.user_id)}
                    </span>
                  </td>
                  <td title={entry.resource}>
                    {entry.action} <code>{shortResource(entry.resource)}</code>
                    {entry.count > 1 ? ` × ${entry.count}` : ""}
                  </td>
                  <td>{entry.ip_address ?? "–"}</td>
                  <td>
                    <span class={`badge ${entry.result === "ok" ? "ok" : "bad"}`}>{entry.result}</span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}

function shortResource(resource: string): string {
  return resource.length > 20 ? `${resource.slice(0, 18)}…` : resource;
}

function timeOf(at: number | string): string {
  const when = seconds(at);
  return when === null ? "–" : new Date(when * 1000).toLocaleTimeString();
}
