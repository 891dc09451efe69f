// What other plugins may use of this one: tokens and types, no behaviour.

import { defineService, type ServiceToken } from '@runtime/sdk';

export interface Greeter {
  /** The greeting for `name`. */
  greet(name: string): Promise<string>;
}

export const greeter: ServiceToken<Greeter> = defineService<Greeter>('greeter', { version: '1.0.0' });

declare module '@runtime/core' {
  interface EventMap {
    'hello:greeted': { readonly name: string; readonly by: string };
  }
}
