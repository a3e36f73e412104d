import type { ComponentType, FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";
import { sayFailure } from "./toasts";

/** A component whose code is loaded when it is shown for the first time. */
export function lazy<P extends object>(load: () => Promise<{ default: ComponentType<P> }>): FunctionComponent<P> {
  let Loaded: ComponentType<P> | null = null;
  return function Lazy(props: P) {
    const [, setReady] = useState(Loaded !== null);
    useEffect(() => {
      if (Loaded) return;
      load().then(
        (module) => {
          Loaded = module.default;
          setReady(true);
        },
        (error) => sayFailure("A part of this page cannot be loaded", error),
      );
    }, []);
    return Loaded ? <Loaded {...props} /> : null;
  };
}
