// The signals that ask to stop.

export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type StopSignal = (typeof STOP_SIGNALS)[number];

/**
 * One ^C may arrive twice: from the terminal, and from npm or an older Node around this process that hands it on. So soon
 * nobody presses it again.
 */
const SAME_MS = 200;

/** Calls back for each, and says whether it is not the first. */
export function onStopSignals(listener: (signal: StopSignal, again: boolean) => void): Disposable {
  let lastAt: number | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    const now = performance.now();
    if (lastAt !== undefined && now - lastAt < SAME_MS) return;
    const again = lastAt !== undefined;
    lastAt = now;
    listener(signal as StopSignal, again);
  };
  for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  return {
    [Symbol.dispose]() {
      for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
    },
  };
}
