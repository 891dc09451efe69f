// Guests whose cards are interfaces of this computer: their addresses, their rules, and a name server for each.

import type { AddressRange, Lease, Logger, ManagedProcess, ProcessSupervisor, ResourceAllocator } from '@runtime/sdk';
import { networkOf, SUBNET_SIZE } from '../concierge/network.ts';
import { errors } from '../errors.ts';
import { Claims, type LockedClaims } from './claims.ts';
import { DNSMASQ_READY, dnsmasqArguments } from './dnsmasq.ts';
import {
  bridgesAreFiltered,
  forwardingInterfaces,
  ownAddresses,
  restoreForwarding,
  setUpTap,
  startForwarding,
} from './interfaces.ts';
import { ALL_TAPS, tapName } from './names.ts';
import { type AdoptedLink, type LinkRequest, leaseSubnet, type NetworkLink, type Networks } from './networks.ts';
import { changeRules, droppingChains } from './nft.ts';
import { DNSMASQ, programPath, tapLack } from './programs.ts';
import { blockedBy } from './requirements.ts';
import { removalText, rulesetText } from './ruleset.ts';

export interface TapNetworksOptions {
  /** Of `runtimeId`. */
  readonly runtime: string;
  readonly resources: ResourceAllocator;
  readonly processes: ProcessSupervisor;
  readonly log: Logger;
  /** VMs go on when the runtime ends. */
  readonly persistent: boolean;
  /** Where runtimes tell each other; default `/run/runtime-network`. */
  readonly claims?: string;
}

const KIND = 'dnsmasq';

export class TapNetworks implements Networks {
  readonly #options: TapNetworksOptions;
  readonly #claims: Claims;
  /** First addresses of those that have rules; with those of an earlier runtime that were not settled yet. */
  readonly #subnets: Set<number>;
  /** Of VMs that are known. */
  readonly #links: Map<number, LinkRequest> = new Map();

  constructor(options: TapNetworksOptions) {
    this.#options = options;
    this.#claims = new Claims(options.claims);
    this.#subnets = new Set(this.#claims.peek(options.runtime));
  }

  async open(request: LinkRequest): Promise<NetworkLink> {
    const lack = tapLack();
    if (lack !== undefined) throw errors.CROSTINI_ERR_NETWORK({ details: { ...lack } });
    const [blocking] = await droppingChains();
    if (blocking !== undefined) throw errors.CROSTINI_ERR_NETWORK({ details: { ...blockedBy(blocking) } });
    const lease = await this.#claims.exclusively(async (claims) => {
      const dead = await this.#removeDead(claims);
      const others = claims.all().filter(({ runtime, alive }) => runtime !== this.#options.runtime && alive);
      const lease = this.#leaseFree(request.key, [...others.flatMap(({ subnets }) => subnets), ...ownAddresses()]);
      try {
        await this.#write(claims, [...this.#subnets, startOf(lease)], dead);
      } catch (e) {
        lease[Symbol.dispose]();
        throw e;
      }
      return lease;
    });
    return this.#link(request, lease);
  }

  async adopt(request: AdoptedLink): Promise<NetworkLink> {
    const lease = leaseSubnet(this.#options.resources, request.key, request.subnet);
    if (request.backend === 'passt') throw new Error('a VM behind passt has no tap');
    try {
      if (!this.#subnets.has(request.subnet)) {
        await this.#claims.exclusively((claims) => this.#write(claims, [...this.#subnets, request.subnet]));
      }
    } catch (e) {
      lease[Symbol.dispose]();
      throw e;
    }
    return this.#link(request, lease);
  }

  async settle(): Promise<void> {
    const known = new Set([...this.#links.values()].map(({ machine }) => serverKey(machine)));
    const left = this.#options.processes.list().filter(({ kind, key }) => kind === KIND && !known.has(key));
    await Promise.allSettled(left.map((server) => server.stop()));
    if (this.#subnets.size === 0) return;
    await this.#claims.exclusively(async (claims) => {
      await this.#write(claims, [...this.#links.keys()], await this.#removeDead(claims));
    });
  }

  #link(request: LinkRequest, lease: Lease<AddressRange>): NetworkLink {
    const subnet = startOf(lease);
    this.#links.set(subnet, request);
    const network = networkOf(lease.value.start, tapName(this.#options.runtime, subnet));
    let server: ManagedProcess | undefined;
    return {
      subnet,
      network,
      attach: async () => {
        setUpTap(network.tap ?? '', network);
        server = await this.#serveNames(request.machine, network.gateway);
      },
      [Symbol.asyncDispose]: async () => {
        await (server ?? this.#server(request.machine))?.stop();
        this.#links.delete(subnet);
        await this.#claims.exclusively((claims) =>
          this.#write(
            claims,
            [...this.#subnets].filter((one) => one !== subnet),
          ),
        );
        lease[Symbol.dispose]();
      },
    };
  }

  /** A network that nobody else on this computer has. */
  #leaseFree(key: string, taken: readonly number[]): Lease<AddressRange> {
    const { resources } = this.#options;
    const inUse = (lease: Lease<AddressRange>): boolean =>
      taken.some((address) => address >= startOf(lease) && address < startOf(lease) + Number(SUBNET_SIZE));
    const tried: Lease<AddressRange>[] = [];
    try {
      for (;;) {
        const lease = leaseSubnet(resources, tried.length === 0 ? key : `${key} ${tried.length}`);
        tried.push(lease);
        if (!inUse(lease)) break;
      }
    } finally {
      for (const lease of tried) lease[Symbol.dispose]();
    }
    return leaseSubnet(resources, key, startOf(tried.at(-1) as Lease<AddressRange>));
  }

  /** The claim first: what follows from it is undone by whoever finds it. `also`: further text for nft. */
  async #write(claims: LockedClaims, subnets: readonly number[], also = ''): Promise<void> {
    const { runtime } = this.#options;
    if (subnets.length > 0) await claims.write({ runtime, subnets });
    if (subnets.length > 0 && claims.forwardingBefore() === undefined) {
      await claims.writeForwardingBefore(forwardingInterfaces());
    }
    const onlyVms = claims.forwardingBefore()?.length === 0 && !bridgesAreFiltered();
    const rules = subnets.length > 0 ? rulesetText({ runtime, subnets, onlyVms }) : removalText(runtime);
    try {
      await changeRules(also + rules);
    } catch (e) {
      await claims.write({ runtime, subnets: [...this.#subnets] });
      await this.#stopForwardingIfLast(claims);
      throw e;
    }
    this.#subnets.clear();
    for (const subnet of subnets) this.#subnets.add(subnet);
    if (subnets.length > 0) return startForwarding();
    await this.#stopForwardingIfLast(claims, runtime);
    await claims.write({ runtime, subnets });
  }

  /** @param going whose claim is still there, but does not count */
  async #stopForwardingIfLast(claims: LockedClaims, going?: string): Promise<void> {
    if (claims.all().some(({ runtime, alive }) => alive && runtime !== going)) return;
    const before = claims.forwardingBefore();
    if (before !== undefined) restoreForwarding(before);
    await claims.writeForwardingBefore(undefined);
  }

  /** Of runtimes that were killed, and whose VMs are no more. Answers the text that removes their rules. */
  async #removeDead(claims: LockedClaims): Promise<string> {
    const dead = claims.all().filter(({ runtime, alive }) => !alive && runtime !== this.#options.runtime);
    if (dead.length === 0) return '';
    for (const { runtime } of dead) {
      this.#options.log.info({ runtime }, 'the network of a runtime that is no more is removed');
      await claims.write({ runtime, subnets: [] });
    }
    if (claims.all().every(({ alive }) => !alive)) await this.#stopForwardingIfLast(claims);
    return dead.map(({ runtime }) => removalText(runtime)).join('');
  }

  // Name servers

  async #serveNames(machine: string, gateway: string): Promise<ManagedProcess> {
    const program = programPath(DNSMASQ);
    if (program === undefined) {
      throw errors.CROSTINI_ERR_NETWORK({
        details: { why: 'there is no dnsmasq', hint: 'Install it: apt-get install dnsmasq-base' },
      });
    }
    try {
      return await this.#options.processes.spawn({
        key: serverKey(machine),
        kind: KIND,
        argv: dnsmasqArguments(program, gateway),
        ready: { line: DNSMASQ_READY },
        restart: { when: 'always' },
        detached: this.#options.persistent,
      });
    } catch (e) {
      const why = `no name server can be started for them: ${e instanceof Error ? e.message : String(e)}`;
      const hint = `If another one has port 53 of all addresses (ss -lnup sport = 53), have it leave out ${ALL_TAPS}`;
      throw errors.CROSTINI_ERR_NETWORK({ details: { why, hint }, cause: e });
    }
  }

  #server(machine: string): ManagedProcess | undefined {
    return this.#options.processes.list().find(({ key }) => key === serverKey(machine));
  }
}

const startOf = ({ value }: Lease<AddressRange>): number => Number(value.start);
const serverKey = (machine: string): string => `dns/${machine}`;
