// Calls of the guest on their way through the runtime, which knows who on the host answers them.

import type { DeviceContext } from '@runtime/sdk/virtio';
import { closeFd } from './close-fd.ts';

export class Dialer {
  /** Answers that have not come yet, also those that nobody waits for any more. */
  underWay = 0;
  readonly #request: DeviceContext<unknown, unknown>['request'];
  #isDisposed = false;

  constructor(request: DeviceContext<unknown, unknown>['request']) {
    this.#request = request;
  }

  /**
   * Asks for a socket that is connected to `port`. `answered` gets it, or `undefined` when the call is refused, and says
   * whether it takes it. Not called after disposing.
   */
  dial(port: number, answered: (fd: number | undefined) => boolean): void {
    this.underWay += 1;
    Promise.try(() => this.#request('connect', { port })).then(
      ({ fds }) => this.#end(fds, answered),
      () => this.#end([], answered),
    );
  }

  dispose(): void {
    this.#isDisposed = true;
  }

  #end([fd, ...rest]: readonly number[], answered: (fd: number | undefined) => boolean): void {
    this.underWay -= 1;
    for (const one of rest) closeFd(one);
    const isTaken = !this.#isDisposed && answered(fd);
    if (!isTaken && fd !== undefined) closeFd(fd);
  }
}
