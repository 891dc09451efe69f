// The one process of a guest: PID 1.

if (process.pid === 1) {
  console.log('guest');
  setInterval(() => {}, 2 ** 30);
}

/** Runs what a start runs, with nothing that touches the system. */
export function warmUp(): Promise<void> {
  return Promise.resolve();
}
