// How a driver uses its device, as far as the device's loop can tell: what it may expect when it has nothing left to do.

/** A driver is brisk whose last request came as soon as this after the device ran out of work, in ms. */
const BRISK_MS = 0.5;
/** Of as many interrupts one is tried later, to see how far the driver goes on without it. */
const TRIAL_EVERY = 64;

export class DriverPace {
  readonly #most: number;
  /** When the device last ran out of work; −1: it has some. */
  #idleSince = -1;
  #isBrisk = false;
  #waits = 0;
  #sinceTrial = 0;
  #isTrial = false;

  /** @param most requests more that one interrupt may wait for */
  constructor(most: number) {
    this.#most = most;
  }

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

  /** For how many requests more the answers may wait. `waited()` follows when it is not 0. */
  mayWait(): number {
    if (!this.#isBrisk) return 0;
    this.#sinceTrial = (this.#sinceTrial + 1) % TRIAL_EVERY;
    this.#isTrial = this.#sinceTrial === 0;
    return this.#isTrial ? this.#most : this.#waits;
  }

  /** @param came how many did, which did not need the answers */
  waited(came: number): void {
    if (came >= this.#most) this.#waits = this.#most;
    // A driver that waits for answers, as it has no more requests, does nothing meanwhile: half of what it had is left to it.
    else if (this.#isTrial) this.#waits = came >> 1;
    else if (came < this.#waits) this.#waits = 0;
  }
}
