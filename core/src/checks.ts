// Checks of `runtime doctor`: each says what it found and, when that is not good, what to do.

export type CheckStatus = 'ok' | 'warn' | 'fail';
export interface CheckResult {
  readonly status: CheckStatus;
  /** What was found, one line. */
  readonly found: string;
  /** What to do; required unless `ok`. */
  readonly remedy?: string;
}
export type Check = () => CheckResult | Promise<CheckResult>;
export interface CheckReport extends CheckResult {
  readonly name: string;
  readonly plugin: string;
}
export interface CheckRegistry {
  add(name: string, check: Check): Disposable;
}
