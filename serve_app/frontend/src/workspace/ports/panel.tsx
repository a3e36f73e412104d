/** The ports of the workspace: open, copy, share, stop. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { confirm, Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icons";
import { MenuButton, type MenuEntries } from "../../ui/menu";
import { say } from "../../ui/toasts";
import { loadPorts, makeLink, openUrl, type Port, ports, share, stop, type Visibility } from "./ports";
import "./panel.css";

const open = signal(false);

const SHARED: Record<Visibility, { short: string; long: string }> = {
  private: { short: "Only you", long: "Only you" },
  "signed-in": { short: "Signed in", long: "Everybody with an account here" },
  public: { short: "Public", long: "Everybody who has the address" },
};

export function openPorts(): void {
  open.value = true;
}

export function PortsDialog() {
  if (!open.value) return null;
  return (
    <Dialog title="Ports" size="wide" onClose={() => (open.value = false)}>
      <Ports />
    </Dialog>
  );
}

function Ports() {
  useEffect(() => void loadPorts(), []);
  if (ports.value.length === 0) {
    return (
      <div class="ports-empty" data-testid="ports">
        <p>Nothing listens in this workspace.</p>
        <p class="dim">
          Start a server in a terminal, for example <code>python3 -m http.server 8000</code>, and its
          page is here.
        </p>
      </div>
    );
  }
  return (
    <ul class="ports" data-testid="ports">
      {ports.value.map((each) => (
        <PortLine key={each.port} port={each} />
      ))}
    </ul>
  );
}

function PortLine({ port }: { port: Port }) {
  const shared = port.visibility !== "private";
  return (
    <li class="port" data-port={port.port}>
      <span class={`dot ${port.listening ? "ok" : ""}`} title={port.listening ? "Listens" : "Nothing listens"} />
      <span class="port-number">{port.port}</span>
      <span class="port-program" title={port.command ?? undefined}>
        {port.label || port.program || (port.listening ? "A program" : "Nothing listens")}
      </span>
      <span class={`port-shared ${shared ? "is" : ""}`} title={SHARED[port.visibility].long}>
        {SHARED[port.visibility].short}
      </span>
      <a
        class="button small primary"
        href={openUrl(port.port)}
        target="_blank"
        rel="noopener"
        data-testid="open-port"
      >
        Open
      </a>
      <button
        type="button"
        class="icon-button small"
        aria-label={`Copy the address of port ${port.port}`}
        title="Copy the address"
        onClick={() => void copy(port.url, "The address is copied.")}
      >
        <Icon name="link" />
      </button>
      <MenuButton label={`Port ${port.port}`} testId="port-menu" entries={() => menu(port)}>
        <Icon name="more" />
      </MenuButton>
    </li>
  );
}

function menu(port: Port): MenuEntries {
  const visibilities = (Object.keys(SHARED) as Visibility[]).map((each) => ({
    label: SHARED[each].long,
    checked: port.visibility === each,
    run: () => void reallyShare(port, each),
  }));
  return [
    ...visibilities,
    "separator",
    { label: "Visits wake the workspace", checked: port.wake, run: () => void share(port, { wake: !port.wake }) },
    { label: "Copy a link for a day", run: () => void copyLink(port) },
    "separator",
    { label: "Stop the program…", danger: true, disabled: !port.listening, run: () => void reallyStop(port) },
  ];
}

async function reallyShare(port: Port, visibility: Visibility): Promise<void> {
  const text = "Whoever has its address can use this program, without an account.";
  if (visibility === "public" && !(await confirm(`Make port ${port.port} public?`, text, "Make it public"))) {
    return;
  }
  await share(port, { visibility });
}

async function reallyStop(port: Port): Promise<void> {
  const name = port.program ?? "the program";
  if (await confirm(`Stop ${name}?`, `It listens on port ${port.port}.`, "Stop it")) await stop(port);
}

async function copyLink(port: Port): Promise<void> {
  const link = await makeLink(port);
  if (link) await copy(link, "The link is copied; whoever has it gets in for a day.");
}

async function copy(text: string, done: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(done);
  } catch {
    say(text); // without leave to write the clipboard
  }
}
