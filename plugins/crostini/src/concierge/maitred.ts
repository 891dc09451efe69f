// What the host asks of maitred, the first process of a guest.

import { join } from 'node:path';
import { RpcClient, type RpcOptions } from '../rpc/rpc.ts';
import { guestWire } from '../wire/index.ts';
import { type GuestNetwork, inAddr } from './network.ts';
import { GUEST_PORTS } from './ports.ts';

/** Of each call, ms. */
const DEADLINE_MS = 20_000;
/** Of an answer, in bytes. */
const MAX_MESSAGE = 1024 * 1024;

export type MaitredClient = RpcClient<typeof guestWire.table, 'vm_tools.Maitred'>;

/** @param directory of the VM, where the vmm plugin has its sockets */
export function callMaitred(directory: string): MaitredClient {
  const path = join(directory, `vsock.sock.g${GUEST_PORTS.maitred}`);
  return new RpcClient(guestWire, 'vm_tools.Maitred', `unix:${path}`, {
    'grpc.max_receive_message_length': MAX_MESSAGE,
  });
}

/** Tells a guest that has just called all that it cannot know, in the order of ChromeOS. */
export async function setUpGuest(client: MaitredClient, network: GuestNetwork, signal: AbortSignal): Promise<void> {
  const { call } = client;
  const options: RpcOptions = { deadlineMs: DEADLINE_MS, signal };
  const { address, netmask, gateway, dns } = network;
  const ipv4_config = { address: inAddr(address), netmask: inAddr(netmask), gateway: inAddr(gateway) };
  await call.ConfigureNetwork({ ipv4_config }, options);
  await call.SetResolvConfig({ resolv_config: { nameservers: [dns] } }, options);
  // A guest without that time zone keeps its own.
  await call.SetTimezone({ timezone_name: hostTimezone() }, options).catch(() => signal.throwIfAborted());
  await setTime(client, options);
}

/** A guest that answers, and says that it could not. */
export class GuestRefusal extends Error {}

/** The disk is formatted when it is blank, and LXD started where there is one. */
const START_TERMINA_MS = 150_000;
/** As the guest calls its second disk. */
const STATEFUL_DEVICE = '/dev/vdb';
/** Of containers, with the address of the guest in it, as patchpanel has it. */
const CONTAINER_SUBNET = '100.115.92.193/28';

/** @throws GuestRefusal */
export async function startTermina(
  { call }: MaitredClient,
  { gateway }: GuestNetwork,
  signal: AbortSignal,
): Promise<void> {
  const { mount_result } = await call.StartTermina(
    {
      tremplin_ipv4_address: inAddr(gateway),
      lxd_ipv4_subnet: CONTAINER_SUBNET,
      stateful_device: STATEFUL_DEVICE,
      allow_privileged_containers: true,
    },
    { deadlineMs: START_TERMINA_MS, signal },
  );
  if (mount_result !== 'SUCCESS' && mount_result !== 'PARTIAL_DATA_LOSS') {
    throw new GuestRefusal(`its disk could not be mounted (${mount_result})`);
  }
}

/** The clock of a guest stands still while its CPUs do. */
export async function setTime(
  { call }: MaitredClient,
  options: RpcOptions = { deadlineMs: DEADLINE_MS },
): Promise<void> {
  const now = Date.now();
  const seconds = Math.floor(now / 1_000);
  await call.SetTime({ time: { seconds: BigInt(seconds), nanos: (now - seconds * 1_000) * 1_000_000 } }, options);
}

export async function prepareToSuspend({ call }: MaitredClient): Promise<void> {
  await call.PrepareToSuspend({}, { deadlineMs: DEADLINE_MS });
}

/** @throws when it does not answer */
export async function checkMaitred({ call }: MaitredClient): Promise<void> {
  await call.GetKernelVersion({}, { deadlineMs: DEADLINE_MS });
}

function hostTimezone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}
