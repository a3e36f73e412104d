import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, callJson, providers, rememberSignedIn, rememberTicket } from "../lib/api";
import { Brand } from "../ui/brand";
import { ThemeButton } from "../ui/theme-button";
import { judge, safeNext, type Verdict } from "./attempt";
import "../styles/base.css";
import "./login.css";

const next = safeNext(new URLSearchParams(location.search).get("next"));

function LoginPage() {
  const [checking, setChecking] = useState(true);
  const [github, setGithub] = useState(false);
  const look = async () => {
    const answer = await providers().catch(() => null); // the server is away: the form is here
    setGithub((answer?.providers ?? []).some((p) => (typeof p === "string" ? p : p.name) === "github"));
    setChecking(answer?.signed_in === true && (await goOnIfSignedIn()));
  };
  useEffect(() => {
    void look();
  }, []);
  return (
    <>
      <div class="login-corner">
        <ThemeButton />
      </div>
      <main class="login">
        <Brand />
        <h1>Your workspace, as you left it.</h1>
        <LoginForm checking={checking} />
        {github && (
          <>
            <div class="login-or">or</div>
            <a class="button login-wide" href={`/api/v1/auth/github${next ? `?next=${encodeURIComponent(next)}` : ""}`}>
              Continue with GitHub
            </a>
          </>
        )}
      </main>
      <footer class="login-footer">
        <a href="/static/third-party-notices.txt">Licences</a>
      </footer>
    </>
  );
}

function LoginForm({ checking }: { checking: boolean }) {
  const form = useRef<HTMLFormElement>(null);
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [shown, setShown] = useState(false);
  const [sending, setSending] = useState(false);
  const [verdict, setVerdict] = useState<Verdict | null>(null);
  const [wait, setWait] = useState<number | null>(null);

  const send = async () => {
    setSending(true);
    setWait(null);
    try {
      await signIn(email.trim(), password);
    } catch (error) {
      const failed = judge(error);
      setVerdict(failed);
      setWait(failed.waitSeconds);
      setSending(false);
      if (failed.waitSeconds === null) form.current?.querySelector<HTMLElement>("#password")?.focus();
    }
  };

  useEffect(() => {
    if (wait === null) return;
    if (wait <= 0) {
      setWait(null);
      if (verdict?.automatic) void send();
      else setVerdict(null);
      return;
    }
    const timer = setTimeout(() => setWait(wait - 1), 1000);
    return () => clearTimeout(timer);
  }, [wait]);

  const waiting = wait !== null;
  return (
    <form
      ref={form}
      class="login-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (!sending && !waiting) void send();
      }}
    >
      <label class="field">
        <span>Email</span>
        <input
          class="input"
          name="email"
          type="email"
          autocomplete="username"
          required
          autofocus
          data-testid="login-email"
          value={email}
          onInput={(event) => setEmail(event.currentTarget.value)}
        />
      </label>
      <label class="field">
        <span>Password</span>
        <span class="login-password">
          <input
            id="password"
            class="input"
            name="password"
            type={(shown ? "text" : "password") as "password"}
            autocomplete="current-password"
            required
            aria-invalid={verdict !== null && wait === null}
            aria-describedby={verdict ? "verdict" : undefined}
            data-testid="login-password"
            value={password}
            onInput={(event) => setPassword(event.currentTarget.value)}
          />
          <button
            type="button"
            class="login-show"
            aria-pressed={shown}
            aria-label="Show the password"
            onClick={() => setShown(!shown)}
          >
            {shown ? "Hide" : "Show"}
          </button>
        </span>
      </label>
      {verdict && (
        <div id="verdict" class={`notice ${verdict.kind}`} role="alert">
          {verdict.text}
          {waiting && (
            <span aria-live="off">
              {verdict.automatic ? ` Trying again in ${wait} s.` : ` Try again in ${wait} s.`}
            </span>
          )}
        </div>
      )}
      <button
        type="submit"
        class="button primary login-wide"
        data-testid="login-submit"
        disabled={sending || waiting}
      >
        {(sending || checking) && <span class="spinner" aria-hidden="true" />}
        {sending ? "Opening your workspace…" : waiting ? `Wait ${wait} s` : "Sign in"}
      </button>
    </form>
  );
}

async function signIn(email: string, password: string): Promise<void> {
  const login = await callJson<{ workspace_url: string; ticket: string }>("POST", "/api/v1/auth/login", {
    json: { email, password },
    timeoutSeconds: 60,
    unsigned: true,
  });
  rememberSignedIn(true);
  rememberTicket(login.ticket);
  location.assign(next ?? login.workspace_url);
}

/** Leave at once when the cookie is still good. True when the page is on its way. */
async function goOnIfSignedIn(): Promise<boolean> {
  try {
    await call("GET", "/api/v1/auth/me", { timeoutSeconds: 8 });
    location.replace(next ?? (await ownWorkspace()));
    return true;
  } catch {
    return false; // nobody is signed in, or the server is away: the form is here
  }
}

async function ownWorkspace(): Promise<string> {
  const session = await callJson<{ session_id: string }>("POST", "/api/v1/sessions", {
    json: { name: "default" },
  });
  return `/workspaces/${encodeURIComponent(session.session_id)}`;
}

render(<LoginPage />, document.getElementById("app")!);
