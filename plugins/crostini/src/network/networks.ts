// What leads guests to the network: passt, which the vmm plugin starts, or taps.

import { ipv4Subnet } from '@runtime/plugin-vmm/contract';
import type { AddressRange, Lease, ResourceAllocator } from '@runtime/sdk';
import { type GuestNetwork, networkOf, SUBNET_SIZE } from '../concierge/network.ts';

export type NetworkBackend = 'passt' | 'tap';

export interface LinkRequest {
  /** Of the VM, unique. */
  readonly key: string;
  /** As the vmm plugin calls it. */
  readonly machine: string;
}

export interface AdoptedLink extends LinkRequest {
  readonly backend: NetworkBackend;
  /** First address, as a number. */
  readonly subnet: number;
}

/** The network of one VM. What there is of it goes when it is disposed of, and stays when it is not. */
export interface NetworkLink extends AsyncDisposable {
  readonly subnet: number;
  readonly network: GuestNetwork;
  /** When its machine is there. @throws CROSTINI_ERR_NETWORK */
  attach(): Promise<void>;
}

export interface Networks {
  /** @throws CORE_ERR_POOL_EXHAUSTED, CROSTINI_ERR_NETWORK */
  open(request: LinkRequest): Promise<NetworkLink>;
  /** Of a VM that outlived the runtime which started it. */
  adopt(request: AdoptedLink): Promise<NetworkLink>;
  /** Undoes what there is of VMs that were not adopted. */
  settle(): Promise<void>;
}

export class PasstNetworks implements Networks {
  readonly #resources: ResourceAllocator;

  constructor(resources: ResourceAllocator) {
    this.#resources = resources;
  }

  async open({ key }: LinkRequest): Promise<NetworkLink> {
    return passtLink(leaseSubnet(this.#resources, key));
  }

  async adopt({ key, subnet }: AdoptedLink): Promise<NetworkLink> {
    return passtLink(leaseSubnet(this.#resources, key, subnet));
  }

  async settle(): Promise<void> {}
}

export function leaseSubnet(resources: ResourceAllocator, key: string, at?: number): Lease<AddressRange> {
  const place = at === undefined ? {} : { at: BigInt(at) };
  return resources.lease(ipv4Subnet, { key: `termina:${key}`, size: SUBNET_SIZE, ...place });
}

function passtLink(lease: Lease<AddressRange>): NetworkLink {
  return {
    subnet: Number(lease.value.start),
    network: networkOf(lease.value.start),
    attach: async () => {},
    [Symbol.asyncDispose]: async () => lease[Symbol.dispose](),
  };
}
