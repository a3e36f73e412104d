import { ApiError, call } from "../../lib/api";
import { Form, Problem } from "../../ui/form-dialog";
import { say } from "../../ui/toasts";
import { user } from "../session/session";
import { settingsSection } from "./open";

/** Changing one's own password. */
export function PasswordSection() {
  const send = async ({ current, next, again }: Record<string, string>) => {
    if (next !== again) throw new Problem("The new password and its repetition are not the same.");
    try {
      await call("POST", "/api/v1/auth/password", {
        json: { current_password: current, new_password: next },
      });
    } catch (error) {
      const wrong = error instanceof ApiError && error.code === "wrong_password";
      throw wrong ? new Problem("The current password is wrong.") : error;
    }
    say("The password is changed. Other browsers are signed out.");
    settingsSection.value = null;
  };
  return (
    <Form action="Change password" testId="change-password" send={send}>
      <input type="hidden" name="username" autocomplete="username" value={user.value?.email ?? ""} />
      <Field name="current" label="Current password" autocomplete="current-password" />
      <Field name="next" label="New password" autocomplete="new-password" />
      <Field name="again" label="New password again" autocomplete="new-password" />
      <p class="dialog-text">All other sign-ins of your account end.</p>
    </Form>
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
