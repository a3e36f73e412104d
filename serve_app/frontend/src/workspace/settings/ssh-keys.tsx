import { useState } from "preact/hooks";
import { formatAgo } from "../../lib/format";
import { confirm } from "../../ui/dialog";
import { Form } from "../../ui/form-dialog";
import { say, sayFailure } from "../../ui/toasts";
import { sessionId } from "../session/session";
import { addSshKey, removeSshKey, type SshKey, sshKeys, sshServer } from "./account";
import { RowButton, SettingList, useList } from "./list";

export function SshSection() {
  const list = useList(sshKeys);
  const server = useList(sshServer).found;
  const [added, setAdded] = useState(0); // makes the form anew
  const now = Date.now() / 1000;
  const send = async ({ key = "", name = "" }: Record<string, string>) => {
    await addSshKey(key.trim(), name.trim());
    say("SSH clients that have the private key can sign in from now on.");
    await list.again();
    setAdded((before) => before + 1);
  };
  const remove = async (key: SshKey) => {
    const text = "Nobody signs in with it any more, and connections that were made with it end.";
    if (!(await confirm(`Remove “${key.name}”?`, text, "Remove"))) return;
    await removeSshKey(key.key_id).catch((error) => sayFailure("The key was not removed", error));
    await list.again();
  };
  return (
    <>
      <p class="dialog-text">
        With these keys editors and SSH clients reach your workspaces. <code>coditect ssh-config</code> writes what they
        need to know.
      </p>
      {server && (
        <dl class="setting-facts">
          <dt>This workspace</dt>
          <dd>
            {server.port === null ? (
              "The SSH server is starting."
            ) : (
              <code>
                ssh {server.port === 22 ? "" : `-p ${server.port} `}
                {sessionId}@{server.host}
              </code>
            )}
          </dd>
          <dt>Server’s key</dt>
          <dd>
            <code>{server.fingerprint}</code>
          </dd>
        </dl>
      )}
      <SettingList
        list={list}
        none="There are none yet."
        row={(key) => (
          <li key={key.key_id}>
            <span class="setting-name">{key.name}</span>
            <span class="setting-value">
              <code>{key.fingerprint}</code>
              <span class="dim">
                {key.last_used_at === null ? "never used" : `used ${formatAgo(now, key.last_used_at)}`}
              </span>
            </span>
            <RowButton icon="close" label={`Remove ${key.name}`} run={() => void remove(key)} />
          </li>
        )}
      />
      <Form key={added} action="Add" testId="ssh-key-add" send={send}>
        <h3>Add one</h3>
        <label class="field">
          <span>Public key (the line of a .pub file)</span>
          <textarea
            class="input mono"
            name="key"
            rows={3}
            required
            placeholder="ssh-ed25519 AAAA… you@laptop"
            spellcheck={false}
            autocomplete="off"
          />
        </label>
        <label class="field">
          <span>Name (optional)</span>
          <input class="input" name="name" maxLength={100} autocomplete="off" />
        </label>
      </Form>
    </>
  );
}
