import { signal } from "@preact/signals";
import { renew } from "../../lib/api";
import { Dialog } from "../../ui/dialog";
import { say, sayFailure } from "../../ui/toasts";
import { anyDirty } from "../files/tabs";

const open = signal(false);

/** The sign-in is over: go to the login page and come back, unless that would lose changes. */
export function signedOut(): void {
  if (anyDirty.value) open.value = true;
  else location.assign(loginUrl());
}

export function SignedOutDialog() {
  if (!open.value) return null;
  const goOn = async () => {
    try {
      if (await renew()) open.value = false;
      else say("You are not signed in yet.", "bad");
    } catch (error) {
      sayFailure("The server does not answer", error);
    }
  };
  return (
    <Dialog title="Your sign-in has ended" onClose={() => (open.value = false)}>
      <p class="dialog-text">
        Some files have changes that are not saved. Sign in again in another tab, then go on here.
      </p>
      <footer>
        <a class="button" href={loginUrl()} target="_blank" rel="noopener">
          Sign in in a new tab
        </a>
        <button type="button" class="button primary" onClick={() => void goOn()}>
          Go on
        </button>
      </footer>
    </Dialog>
  );
}

function loginUrl(): string {
  return `/?next=${encodeURIComponent(location.pathname)}`;
}
