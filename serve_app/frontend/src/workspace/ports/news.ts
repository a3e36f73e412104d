/** What of the ports is news, and which addresses are theirs. Pure. */

export interface Listening {
  port: number;
  program?: string | null;
}

const MAX_ANNOUNCED = 3;
const LOCAL = /^https?:\/\/(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?::(\d{1,5}))?(?=[/?#]|$)(.*)$/i;

/** Return what has begun to listen since `known`; nothing while nobody knew what did. */
export function announced(known: ReadonlySet<number> | null, listening: Listening[]): Listening[] {
  if (known === null) return [];
  return listening.filter((each) => !known.has(each.port)).slice(0, MAX_ANNOUNCED);
}

/** Return port, path and query of an address of the workspace's own machine, as programs print it. */
export function localAddress(uri: string): { port: number; rest: string } | null {
  const match = LOCAL.exec(uri);
  if (!match) return null;
  const port = Number(match[1] ?? (uri.toLowerCase().startsWith("https") ? 443 : 80));
  if (port < 1 || port > 65535) return null;
  const rest = match[2] ?? "";
  return { port, rest: rest.startsWith("/") ? rest : `/${rest}` };
}
