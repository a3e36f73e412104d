/** What an account keeps for its workspaces: variables, secrets, preferences, public keys. */

import { call, callJson } from "../../lib/api";

export interface Variable {
  name: string;
  value: string;
}

export type SecretUse = "bearer" | "basic" | "header";

export interface Binding {
  host: string;
  use: SecretUse;
  https: boolean;
  username?: string;
  header?: string;
}

/** Its value is never told again. */
export interface Secret {
  name: string;
  /** The host whose requests it is for; null: programs find it as a variable. */
  host: string | null;
  /** How it is added to requests to that host; null: it is not. */
  use: SecretUse | null;
  username: string | null;
  header: string | null;
  /** To requests by HTTPS; otherwise to those by plain HTTP. */
  https: boolean;
  /** True if the server has lost its key: it has to be set anew. */
  locked: boolean;
}

export interface Preferences {
  dotfiles_repository: string | null;
  shell: string | null;
  time_zone: string | null;
}

export interface SshKey {
  key_id: string;
  name: string;
  fingerprint: string;
  /** Seconds since 1970. */
  created_at: number;
  last_used_at: number | null;
}

export interface SshServer {
  host: string;
  /** Null: it is starting. */
  port: number | null;
  fingerprint: string;
}

const MAX_PAGES = 20;

export const variables = () => pages<Variable>("variables");
export const secrets = () => pages<Secret>("secrets");

export async function setVariable(name: string, value: string): Promise<void> {
  await call("PUT", `/api/v1/variables/${encodeURIComponent(name)}`, { json: { value } });
}

export async function setSecret(name: string, value: string, binding: Binding | null): Promise<void> {
  await call("PUT", `/api/v1/secrets/${encodeURIComponent(name)}`, { json: { value, ...binding } });
}

export async function forget(kind: "variables" | "secrets", name: string): Promise<void> {
  await call("DELETE", `/api/v1/${kind}/${encodeURIComponent(name)}`);
}

export const preferences = () => callJson<Preferences>("GET", "/api/v1/account/preferences");
export const prefer = (change: Preferences) =>
  callJson<Preferences>("PATCH", "/api/v1/account/preferences", { json: change });

export const sshServer = () => callJson<SshServer>("GET", "/api/v1/ssh");

export async function sshKeys(): Promise<SshKey[]> {
  return (await callJson<{ keys: SshKey[] }>("GET", "/api/v1/ssh-keys")).keys;
}

export async function addSshKey(key: string, name: string): Promise<void> {
  await call("POST", "/api/v1/ssh-keys", { json: { key, ...(name ? { name } : {}) } });
}

export async function removeSshKey(id: string): Promise<void> {
  await call("DELETE", `/api/v1/ssh-keys/${encodeURIComponent(id)}`);
}

async function pages<T>(kind: "variables" | "secrets"): Promise<T[]> {
  const all: T[] = [];
  let after = "";
  for (let page = 0; page < MAX_PAGES; page++) {
    const query: string = after === "" ? "" : `?after=${encodeURIComponent(after)}`;
    const found = await callJson<Record<string, T[]> & { next: string | null }>("GET", `/api/v1/${kind}${query}`);
    all.push(...found[kind]!);
    if (found.next === null) break;
    after = found.next;
  }
  return all;
}
