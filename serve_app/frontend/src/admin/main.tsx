import { render } from "preact";
import { call, maybeSignedIn, onSignedOut, rememberSignedIn } from "../lib/api";
import { Brand } from "../ui/brand";
import { Questions } from "../ui/dialog";
import { sayFailure, Toasts } from "../ui/toasts";
import { ThemeButton } from "../ui/theme-button";
import { me, refused, watch } from "./data";
import { ActorsSection, Figures, HealthSection, PoolSection, Summary, WantingSection } from "./platform";
import { SessionsSection } from "./sessions";
import { AuditSection, UsersSection } from "./users";
import "../styles/base.css";
import "./admin.css";

onSignedOut.subscribe(toLogin);
render(<AdminPage />, document.getElementById("app")!);
maybeSignedIn().then((maybe) => (maybe ? watch() : toLogin()));

function toLogin(): void {
  location.assign("/?next=%2Fadmin");
}

function AdminPage() {
  return (
    <>
      <header class="admin-bar">
        <Brand />
        <h1>Operators</h1>
        <span class="admin-gap" />
        <span class="admin-who">{me.value?.email}</span>
        <a class="button small" href="/">
          My workspace
        </a>
        <button type="button" class="button small" onClick={() => void signOut()}>
          Sign out
        </button>
        <ThemeButton />
      </header>
      {refused.value ? (
        <main class="admin">
          <p class="notice warn" role="alert">
            {refused.value} <a href="/">Go to your workspace.</a>
          </p>
        </main>
      ) : (
        <main class="admin">
          <Summary />
          <Figures />
          <SessionsSection />
          <div class="admin-columns">
            <HealthSection />
            <PoolSection />
            <ActorsSection />
          </div>
          <WantingSection />
          <UsersSection />
          <AuditSection />
        </main>
      )}
      <Questions />
      <Toasts />
    </>
  );
}

async function signOut(): Promise<void> {
  try {
    await call("POST", "/api/v1/auth/logout", { json: {}, unsigned: true });
    rememberSignedIn(false);
    location.assign("/");
  } catch (error) {
    sayFailure("Signing out failed", error);
  }
}
