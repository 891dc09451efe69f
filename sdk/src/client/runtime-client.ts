// What a program can do with a runtime that runs: VMs and events.

import {
  type ConnectOptions,
  type ControlClient,
  connect,
  type DroppedItem,
  type EventItem,
} from '@runtime/core/control';
import { createVms, type Vms } from './vms.ts';

/** `dropped` stands for events that a reader was too slow for. */
export type RuntimeEvent = EventItem | DroppedItem;

export interface RuntimeClient extends AsyncDisposable {
  /** The control socket itself, for what is not here. */
  readonly control: ControlClient;
  /** Those of plugin `crostini`. */
  readonly vms: Vms;
  /**
   * Events from now on, until the signal is aborted or the loop is left.
   * @param pattern a topic, or the beginning of topics and `*`: `termina:*`
   */
  events(pattern: string, options?: { readonly signal?: AbortSignal }): AsyncIterable<RuntimeEvent>;
}

export async function openRuntime(options: ConnectOptions): Promise<RuntimeClient> {
  const name = (options.env ?? process.env).RUNTIME_NAME;
  const control = await connect(name === undefined || name === '' ? options : { name, ...options });
  return {
    control,
    vms: createVms(control),
    events: (pattern, { signal } = {}) =>
      control.stream('events.subscribe', { pattern }, signal === undefined ? {} : { signal }),
    [Symbol.asyncDispose]: () => control[Symbol.asyncDispose](),
  };
}
