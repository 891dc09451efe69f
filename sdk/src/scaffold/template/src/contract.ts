// What other plugins may know of this one: tokens and types, no behaviour. They import it as
// `example-plugin-package/contract`.

import { defineHook, definePool, defineService } from '@runtime/sdk';

export interface Guest {
  readonly name: string;
  readonly seat: number;
}

/** Methods are asynchronous and take plain data, so that the plugin can also run in a process of its own. */
export interface ExamplePluginService {
  /** Gives the guest a seat, unless they have one, and greets them. */
  greet(name: string): Promise<string>;
  /** Frees the seat. */
  leave(name: string): Promise<void>;
  guests(): Promise<readonly Guest[]>;
}

/** The version is that of this contract: raise its major when you break it, whatever the version of the package. */
export const examplePluginService = defineService<ExamplePluginService>('example-plugin', { version: '1.0.0' });

/** Asked before a greeting is given. A tap may answer another text. */
export const examplePluginBeforeGreet = defineHook<[text: string, name: string], string>()(
  'example-plugin/before-greet',
  'waterfall',
  ['text', 'name'],
);

export const SEATS = 8;

/** Whatever only one may hold comes from a pool: here the numbers of the seats, both ends included. */
export const examplePluginSeats = definePool('example-plugin-seats', { kind: 'id', from: 1n, to: BigInt(SEATS) });

declare module '@runtime/core' {
  interface EventMap {
    'example-plugin:greeted': Guest;
  }
}
