// Which of the two a VM has: that of the configuration when it starts, and from then on what it started with.

import type { NetworkMode } from '../config.ts';
import { type Networks, PasstNetworks } from './networks.ts';
import { TapNetworks, type TapNetworksOptions } from './tap-networks.ts';

export interface NetworkOptions extends TapNetworksOptions {
  /** `auto`: passt. */
  readonly mode: NetworkMode;
}

export function createNetworks({ mode, ...options }: NetworkOptions): Networks {
  const taps = new TapNetworks(options);
  const passt = new PasstNetworks(options.resources);
  return {
    open: (request) => (mode === 'tap' ? taps : passt).open(request),
    adopt: (request) => (request.backend === 'tap' ? taps : passt).adopt(request),
    settle: () => taps.settle(),
  };
}
