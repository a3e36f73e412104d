import { useEffect, useRef } from "preact/hooks";
import { Dialog } from "../../ui/dialog";
import { sayFailure } from "../../ui/toasts";
import { end, leave, open, running, type Running } from "./running";
import "./dialog.css";

/** The program that is being started. */
export default function WebProgramDialog() {
  const now = running.value;
  return now ? (
    <Dialog title={now.program.title} onClose={leave} size="wide">
      <Progress now={now} />
    </Dialog>
  ) : null;
}

function Progress({ now }: { now: Running }) {
  const output = useRef<HTMLPreElement>(null);
  useEffect(() => {
    output.current?.scrollTo(0, output.current.scrollHeight);
  }, [now.output]);
  return (
    <>
      <p class="dialog-text" role="status" data-testid="web-program-stage" data-stage={now.stage}>
        {said(now)}
      </p>
      <pre ref={output} class="web-program-output" tabIndex={0} aria-label="Output">
        {now.output || "…"}
      </pre>
      <footer>
        <button type="button" class="button danger" onClick={() => void stop(now)}>
          Stop
        </button>
        {now.stage === "failed" && (
          <button type="button" class="button primary" onClick={() => void open(now.program)}>
            Try again
          </button>
        )}
        {now.stage === "ready" && now.url && (
          <a class="button primary" href={now.url} target="_blank" rel="noopener" onClick={leave} data-testid="web-program-open">
            Open {now.program.title}
          </a>
        )}
      </footer>
    </>
  );
}

function said({ program, stage, problem }: Running): string {
  if (stage === "ready") return `${program.title} runs in this workspace, and opens in a tab of its own.`;
  if (stage === "failed") return `${program.title} does not run. ${problem ?? ""}`;
  return `${program.title} is being started. The first time it is installed, which takes a minute or two; it goes on when this is closed.`;
}

async function stop({ program }: Running): Promise<void> {
  leave();
  try {
    await end(program);
  } catch (error) {
    sayFailure(`${program.title} was not stopped`, error);
  }
}
