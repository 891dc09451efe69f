// How much one VM may say: so many bytes at once, and so many in each second after that.

export interface BudgetLimits {
  readonly burst: number;
  readonly perSecond: number;
}

export class LogBudget {
  readonly #limits: BudgetLimits;
  readonly #now: () => number;
  #left: number;
  #at: number;
  #refused = 0;

  /** @param now milliseconds of a clock that only goes forward */
  constructor(limits: BudgetLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
    this.#left = limits.burst;
    this.#at = now();
  }

  /** False: it is too much, and counted as such. */
  take(amount: number): boolean {
    const now = this.#now();
    const { burst, perSecond } = this.#limits;
    this.#left = Math.min(burst, this.#left + ((now - this.#at) * perSecond) / 1_000);
    this.#at = now;
    if (amount > this.#left) {
      this.#refused += 1;
      return false;
    }
    this.#left -= amount;
    return true;
  }

  /** How often it was too much since the last call of this. */
  takeRefused(): number {
    const refused = this.#refused;
    this.#refused = 0;
    return refused;
  }
}
