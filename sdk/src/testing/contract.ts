// Contract suites: what every provider of a service must do, written once beside the token and run against each.

import { Scope, type ServiceToken } from '@runtime/core';
import { throughMessages } from './through-messages.ts';

/** Throws, or rejects, when the service does not do what the name of the case says. */
export type ContractCase<T> = (service: T) => void | Promise<void>;

export interface Contract<T extends object> {
  readonly token: ServiceToken<T>;
  readonly cases: Readonly<Record<string, ContractCase<T>>>;
}

/**
 * ```ts
 * export const greeterContract = defineContract(greeter, {
 *   'greets by name': async (service) => assert.match(await service.greet('Ada'), /Ada/),
 * });
 * ```
 * Beside the token and with `node:assert`, so that whoever replaces the service can run it with any test framework.
 */
export function defineContract<T extends object>(
  token: ServiceToken<T>,
  cases: Readonly<Record<string, ContractCase<T>>>,
): Contract<T> {
  return Object.freeze({ token, cases: Object.freeze({ ...cases }) });
}

export interface RunContractOptions {
  /** `test` of vitest, of node:test, or the like. */
  readonly test: (name: string, run: () => Promise<void>) => unknown;
}

/**
 * Registers a test for each case, each with an implementation of its own.
 *
 * Arguments and results of a `live` service are copied on the way, as they are between processes, so that an
 * implementation that would fail in a process of its own fails here already.
 * @param make what it defers to the scope runs when the case is over
 */
export function runContract<T extends object>(
  { token, cases }: Contract<T>,
  make: (scope: Scope) => T | Promise<T>,
  { test }: RunContractOptions,
): void {
  for (const [name, run] of Object.entries(cases)) {
    test(`${token.id} ${token.version}: ${name}`, async () => {
      await using scope = new Scope(`contract of ${token.id}`);
      const service = await make(scope);
      await run(token.rebind === 'live' ? throughMessages(service) : service);
    });
  }
}
