// A guest, or a disk that fails, can cause any number of errors; the log gets a few of them.

import type { DeviceLog } from '@runtime/sdk/virtio';

const QUIET_MS = 10_000;

export class ErrorLog {
  readonly #log: DeviceLog;
  #quietUntil = 0;
  #suppressed = 0;

  constructor(log: DeviceLog) {
    this.#log = log;
  }

  warn(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const now = performance.now();
    if (now < this.#quietUntil) {
      this.#suppressed += 1;
      return;
    }
    this.#log.warn(message, this.#suppressed === 0 ? fields : { ...fields, suppressed: this.#suppressed });
    this.#suppressed = 0;
    this.#quietUntil = now + QUIET_MS;
  }
}
