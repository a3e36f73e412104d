/** Changing one's own password. */

import { signal } from "@preact/signals";
import { useRef, useState } from "preact/hooks";
import { ApiError, call, explain } from "../../lib/api";
import { Dialog } from "../../ui/dialog";
import { say } from "../../ui/toasts";
import { user } from "./session";

const open = signal(false);

export function openPassword(): void {
  open.value = true;
}

export function PasswordDialog() {
  if (!open.value) return null;
  return <ChangePassword onClose={() => (open.value = false)} />;
}

function ChangePassword({ onClose }: { onClose: () => void }) {
  const form = useRef<HTMLFormElement>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [sending, setSending] = useState(false);
  const send = async () => {
    const { current, next, again } = Object.fromEntries(new FormData(form.current!)) as Record<string, string>;
    if (next !== again) {
      setProblem("The new password and its repetition are not the same.");
      return;
    }
    setSending(true);
    setProblem(null);
    try {
      await call("POST", "/api/v1/auth/password", {
        json: { current_password: current, new_password: next },
      });
      say("The password is changed. Other browsers are signed out.");
      onClose();
    } catch (error) {
      const wrong = error instanceof ApiError && error.code === "wrong_password";
      setProblem(wrong ? "The current password is wrong." : explain(error));
      setSending(false);
    }
  };
  return (
    <Dialog title="Change password" onClose={onClose}>
      <form
        ref={form}
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (!sending) void send();
        }}
      >
        <input type="hidden" name="username" autocomplete="username" value={user.value?.email ?? ""} />
        <Field name="current" label="Current password" autocomplete="current-password" />
        <Field name="next" label="New password" autocomplete="new-password" />
        <Field name="again" label="New password again" autocomplete="new-password" />
        <p class="dialog-text">All other sign-ins of your account end.</p>
        {problem && (
          <p class="notice bad" role="alert">
            {problem}
          </p>
        )}
        <footer>
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary" disabled={sending} data-testid="change-password">
            Change password
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

interface FieldProps {
  name: "current" | "next" | "again";
  label: string;
  autocomplete: "current-password" | "new-password";
}

function Field({ name, label, autocomplete }: FieldProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        class="input"
        name={name}
        type="password"
        required
        autofocus={name === "current"}
        autocomplete={autocomplete}
        data-testid={`password-${name}`}
      />
    </label>
  );
}
