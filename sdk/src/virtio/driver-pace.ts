// How a driver uses its device, as far as the device's loop can tell: what it may expect when it has nothing left to do.

/** A driver is brisk whose last request came as soon as this after the device ran out of work, in ms. */
const BRISK_MS = 0.5;
/** Of as many interrupts one is tried later, to see whether the driver goes on without it. */
const TRIAL_EVERY = 64;

export class DriverPace {
  /** When the device last ran out of work; −1: it has some. */
  #idleSince = -1;
  #isBrisk = false;
  #isDeep = false;
  #sinceTrial = 0;

  /** The next request may come within microseconds. */
  get isBrisk(): boolean {
    return this.#isBrisk;
  }

  ranOut(): void {
    if (this.#idleSince < 0) this.#idleSince = performance.now();
  }

  requested(): void {
    if (this.#idleSince < 0) return;
    this.#isBrisk = performance.now() - this.#idleSince < BRISK_MS;
    this.#idleSince = -1;
  }

  /** Whether to let answers wait for more of them. `waited()` follows when it is so. */
  mayWait(): boolean {
    if (!this.#isBrisk) return false;
    if (this.#isDeep) return true;
    this.#sinceTrial = (this.#sinceTrial + 1) % TRIAL_EVERY;
    return this.#sinceTrial === 0;
  }

  /** @param wentOn the driver did not need the answers to ask for more */
  waited(wentOn: boolean): void {
    this.#isDeep = wentOn;
  }
}
