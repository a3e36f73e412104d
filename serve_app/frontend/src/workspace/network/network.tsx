/** What the session may reach outside, what it did today, and what was refused lately. Loaded when it is asked for. */

import { useEffect, useState } from "preact/hooks";
import { callJson, explain } from "../../lib/api";
import { formatAgo, formatBytes } from "../../lib/format";
import { Dialog } from "../../ui/dialog";
import { Form } from "../../ui/form-dialog";
import { say } from "../../ui/toasts";
import { sessionPath } from "../session/session";
import { networkOpen } from "./open";
import "./network.css";

const POLICIES = ["none", "allow-list", "internet"] as const;
type Policy = (typeof POLICIES)[number];

interface Refusal {
  /** Seconds since 1970. */
  at: number;
  host: string;
  port: number;
  reason: string;
  count: number;
}

interface Network {
  policy: Policy;
  allow: string[];
  /** The most that may be chosen. */
  limit: Policy;
  server_allow: string[];
  server_hosts: string[];
  limits: { connections: number; bytes_per_second: number | null; bytes_per_day: number | null };
  today: { sent: number; received: number; connections: number; refused: number };
  refusals: Refusal[];
}

const EVERY_MILLISECONDS = 5000;
const WORDS: Record<Policy, [string, string]> = {
  none: ["Nothing outside", "Programs reach only what runs in this workspace."],
  "allow-list": ["Listed hosts", "Everything else is refused."],
  internet: ["The internet", "Private addresses, and the server’s own, are refused all the same."],
};

export default function NetworkDialog() {
  const [network, setNetwork] = useState<Network | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    const read = () =>
      callJson<Network>("GET", `${sessionPath}/network`).then(
        (found) => {
          setNetwork(found);
          setProblem(null);
        },
        (error) => setProblem(explain(error)),
      );
    void read();
    const timer = setInterval(() => document.visibilityState === "visible" && void read(), EVERY_MILLISECONDS);
    return () => clearInterval(timer);
  }, []);
  return (
    <Dialog title="Network of this workspace" size="wide" onClose={() => (networkOpen.value = false)}>
      <div class="network" data-testid="network">
        {problem !== null && (
          <p class="notice bad" role="alert">
            {problem}
          </p>
        )}
        {network ? (
          <>
            <Choice network={network} onChosen={setNetwork} />
            <Today network={network} />
            <Refusals refusals={network.refusals} />
          </>
        ) : (
          problem === null && <p class="dialog-text">Reading…</p>
        )}
      </div>
    </Dialog>
  );
}

function Choice({ network, onChosen }: { network: Network; onChosen: (now: Network) => void }) {
  const [policy, setPolicy] = useState(network.policy);
  const send = async ({ allow = "" }: Record<string, string>) => {
    const hosts = policy === "allow-list" ? allow.split(/[\s,]+/).filter(Boolean) : network.allow;
    onChosen(await callJson<Network>("PUT", `${sessionPath}/network`, { json: { policy, allow: hosts } }));
    say("What programs may reach is changed; connections that are not allowed any more end.");
  };
  return (
    <Form action="Save" testId="network-save" send={send}>
      <fieldset class="choices">
        <legend>Programs in it may reach</legend>
        {POLICIES.map((each) => (
          <label key={each} class="choice">
            <input
              type="radio"
              name="policy"
              value={each}
              checked={each === policy}
              disabled={POLICIES.indexOf(each) > POLICIES.indexOf(network.limit)}
              onChange={() => setPolicy(each)}
            />
            <span>
              {WORDS[each][0]}
              <small>
                {POLICIES.indexOf(each) > POLICIES.indexOf(network.limit)
                  ? "This server does not allow it."
                  : WORDS[each][1]}
              </small>
            </span>
          </label>
        ))}
      </fieldset>
      {policy === "allow-list" && (
        <label class="field">
          <span>Hosts, one a line: name, *.domain or name:port</span>
          <textarea
            class="input network-hosts"
            name="allow"
            rows={4}
            defaultValue={network.allow.join("\n")}
            placeholder={"github.com\n*.pythonhosted.org"}
            spellcheck={false}
            autocomplete="off"
          />
        </label>
      )}
      {policy !== "none" && <ServerHosts network={network} />}
    </Form>
  );
}

function ServerHosts({ network }: { network: Network }) {
  const bound = network.limit === "allow-list" ? network.server_allow : [];
  return (
    <>
      {bound.length > 0 && <p class="dialog-text">The server allows no other hosts than {bound.join(", ")}.</p>}
      {network.server_hosts.length > 0 && (
        <p class="dialog-text">Always there: {network.server_hosts.join(", ")}.</p>
      )}
    </>
  );
}

function Today({ network: { today, limits } }: { network: Network }) {
  const most = [
    limits.bytes_per_day !== null && `${formatBytes(limits.bytes_per_day)} a day`,
    limits.bytes_per_second !== null && `${formatBytes(limits.bytes_per_second)} a second`,
    `${limits.connections.toLocaleString()} connections at once`,
  ].filter(Boolean);
  return (
    <section>
      <h3>Today</h3>
      <p class="dialog-text">
        {formatBytes(today.received)} received and {formatBytes(today.sent)} sent over{" "}
        {today.connections.toLocaleString()} connections; {today.refused.toLocaleString()} refused. At most{" "}
        {most.join(", ")}.
      </p>
    </section>
  );
}

function Refusals({ refusals }: { refusals: Refusal[] }) {
  const now = Date.now() / 1000;
  return (
    <section>
      <h3>Refused lately</h3>
      {refusals.length === 0 ? (
        <p class="dialog-text">Nothing.</p>
      ) : (
        <ul class="refusals">
          {refusals.map((each) => (
            <li key={`${each.at} ${each.host}:${each.port}`}>
              <code>
                {each.host}:{each.port}
              </code>
              <span>
                {each.reason}
                {each.count > 1 && ` (${each.count.toLocaleString()} times)`}
              </span>
              <span class="dim">{formatAgo(now, each.at)}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
