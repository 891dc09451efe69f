// The kinds of devices that come with this plugin. Others come from plugins that answer the hook vm/resolve-device.

import { type DeviceOffer, type OfferedDevice, offerOf } from '@runtime/sdk';
import type { DeviceKind, HostHalf } from './device-kind.ts';
import { adoptBlock, type BlockSource, type OpenedBlock, openBlock } from './devices/block/host.ts';
import block from './devices/block/index.ts';
import { plan as blockPlan } from './devices/block/plan.ts';
import { prepareRequest } from './devices/block/prepare-request.ts';
import input from './devices/input/index.ts';
import { plan as inputPlan } from './devices/input/plan.ts';
import { adoptNet, openNet } from './devices/net/host.ts';
import net from './devices/net/index.ts';
import { plan as netPlan } from './devices/net/plan.ts';
import rng from './devices/rng/index.ts';
import { plan as rngPlan } from './devices/rng/plan.ts';
import { adoptVsock, openVsock } from './devices/vsock/host.ts';
import { HostListeners } from './devices/vsock/host-listeners.ts';
import vsock from './devices/vsock/index.ts';
import { plan as vsockPlan } from './devices/vsock/plan.ts';

const offer = (device: OfferedDevice['device'], folder: string): DeviceOffer & Pick<DeviceKind, 'compilable'> => ({
  ...offerOf({ device, module: new URL(`./devices/${folder}/index.ts`, import.meta.url) }, 'vmm'),
  compilable: true,
});

/** Who on the host answers calls of guests, beside the sockets in the folders of the VMs. */
export const vsockListeners = new HostListeners();

interface Workers {
  /** Threads that serve the queues of the device. */
  readonly workers?: number;
}

const KINDS: readonly DeviceKind[] = [
  {
    ...offer(block, 'block'),
    plan: blockPlan,
    // The description has been checked and filled in, see description/resolve.ts.
    open: async ({ options }) => {
      const { workers = 1, ...source } = options as BlockSource & Workers;
      return { ...blockHalf(openBlock(source)), threads: workers };
    },
    adopt: async ({ options }, fds) => {
      const { workers = 1, ...source } = options as BlockSource & Workers;
      return { ...blockHalf(adoptBlock(source, fds)), threads: workers };
    },
  },
  { ...offer(input, 'input'), plan: inputPlan },
  { ...offer(net, 'net'), plan: netPlan, open: openNet, adopt: adoptNet },
  { ...offer(rng, 'rng'), plan: rngPlan },
  {
    ...offer(vsock, 'vsock'),
    plan: vsockPlan,
    open: (request) => openVsock(request, vsockListeners),
    adopt: (request, fds) => adoptVsock(request, fds, vsockListeners),
  },
];

function blockHalf({ options, fds, [Symbol.dispose]: close }: OpenedBlock): HostHalf {
  return {
    options,
    fds,
    prepare: async (method, params) => prepareRequest(options, fds.disk ?? -1, method, params),
    close: async () => close(),
  };
}

export function builtInKind(kind: string): DeviceKind | undefined {
  return KINDS.find((one) => one.kind === kind);
}

export function builtInKinds(): readonly DeviceKind[] {
  return KINDS;
}
