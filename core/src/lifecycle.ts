// The states of a plugin and the legal moves, as data.

import { errors } from './core-errors.ts';

export type PluginState =
  | 'registered'
  | 'loading'
  | 'setup'
  | 'waiting'
  | 'ready'
  | 'quiescing'
  | 'paused'
  | 'disposing'
  | 'disposed'
  | 'failed';

export const TRANSITIONS: { readonly [S in PluginState]: readonly PluginState[] } = {
  registered: ['loading', 'setup', 'failed', 'disposed'],
  loading: ['setup', 'registered', 'failed', 'disposed'],
  /** `waiting`: set up, but others are not yet. */
  setup: ['waiting', 'failed', 'disposing'],
  waiting: ['ready', 'failed', 'disposing'],
  ready: ['quiescing', 'disposing', 'failed'],
  quiescing: ['paused', 'ready', 'disposing', 'failed'],
  paused: ['disposing', 'ready', 'failed'],
  disposing: ['disposed', 'failed'],
  disposed: ['setup', 'loading'],
  failed: ['disposing', 'setup', 'loading', 'disposed'],
};

declare module './events.ts' {
  interface EventMap {
    /** A plugin has moved to another state; which moves are legal is in `TRANSITIONS`. */
    'core:plugin-state': { readonly plugin: string; readonly from: PluginState; readonly to: PluginState };
  }
}

/** @throws CORE_ERR_STATE when the move is not legal */
export function checkTransition(plugin: string, from: PluginState, to: PluginState): void {
  if (TRANSITIONS[from].includes(to)) return;
  throw errors.CORE_ERR_STATE({
    plugin,
    details: { what: `moving to "${to}"`, who: plugin, state: from, legal: TRANSITIONS[from].join(', ') },
  });
}
