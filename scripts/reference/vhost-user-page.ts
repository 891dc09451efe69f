// docs/reference/vhost-user.md: which messages and protocol features are served, from their tables.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BackendDevice } from '../../sdk/src/virtio/backend-device.ts';
import {
  BackendRequest,
  MAX_CONFIG,
  MAX_FDS,
  MAX_PAYLOAD,
  MAX_SHMEM_REGIONS,
  ProtocolFeature,
  Request,
  type RequestSpec,
} from '../../sdk/src/virtio/vhost-user/messages.ts';
import { Session, type SessionOptions } from '../../sdk/src/virtio/vhost-user/session.ts';
import { ROOT } from './source-text.ts';

/** `    NAME: no('NAME', 'why'),` of handlers.ts */
const REFUSED = /^ {4}(\w+): no\('\1', '([^']+)'\),$/gm;

/** When those are offered that not every back end offers. */
const CONDITIONS: Readonly<Record<string, string>> = {
  config: 'where the device has a configuration space',
  configureMemSlots: 'unless the device is one that QEMU 7.2 takes back without a handshake (rng, i2c, gpio)',
  inbandNotifications: 'only on demand, in code that embeds the back end',
  shmem: 'only with shared memory regions, in code that embeds the back end',
  mtu: 'only with a hook for it, in code that embeds the back end',
  rarp: 'only with a hook for it, in code that embeds the back end',
};

const QEMU = `## QEMU 7.2

What the machine \`qemu\` takes care of, so that devices need not know:

| | |
|---|---|
| who listens | QEMU, on a socket that the runtime has bound and hands over (\`-chardev socket,fd=N,server=on,wait=on\`). A device process that was started anew connects again, and waits in the backlog until QEMU takes it. |
| \`wait=on\` | needed by rng, vsock and fs, which QEMU sets up at once. QEMU does not go on before each device is connected: devices are started first. |
| block and net after a crash | QEMU begins anew, with the whole handshake. Requests of block that were in flight are found in the shared record (\`inflightShmfd\`). |
| rng after a crash | QEMU goes on without negotiating: no GET_FEATURES, no protocol features, but messages that need them. A connection that begins so is taken for one that goes on with all that is offered, and memory is told as one table. |
| vsock and fs after a crash | QEMU accepts the connection and says nothing. The device is unplugged (\`device_del\`) and plugged in again; the guest's driver probes it anew. |
| input | refused by QEMU without KVM. |
| net: the socket | QEMU hands descriptors over only through sockets that it has bound itself, so it binds this one, and the device connects when it is there. |
| net under TCG | with MSI-X, QEMU 7.2 ends with SIGSEGV when the driver is up. The card has no vectors there. |
| net: early rings | SET_VRING_ENABLE comes before SET_FEATURES, and is taken. |
| reset | QEMU before 8.2 has no message for it: a ring that begins at 0 again after it was used is taken as one. |`;

export function vhostUserPage(): string {
  const handlers = readFileSync(join(ROOT, 'sdk/src/virtio/vhost-user/handlers.ts'), 'utf8');
  const refused = new Map([...handlers.matchAll(REFUSED)].map(([, name = '', why = '']) => [name, why] as const));
  const features = Object.entries(ProtocolFeature);
  const least = offered(0, {});
  const most = offered(8, { inband: true, sharedMemory: [4096], net: { setMtu: () => true, sendRarp() {} } });
  return [
    '# vhost-user',
    '',
    "How a device process and a machine talk, as QEMU's docs/interop/vhost-user.rst has it. The device process is the back end.",
    'Its code is in [sdk/src/virtio/vhost-user](../../sdk/src/virtio/vhost-user), and a front end to test it with is in',
    '`@runtime/sdk/testing`.',
    '',
    `A message has at most ${MAX_PAYLOAD.toLocaleString('en')} bytes and ${MAX_FDS} descriptors. What is no message ends the connection`,
    '(SDK_ERR_VHOST_USER_PROTOCOL); what is one and cannot be done is refused (SDK_ERR_VHOST_USER_REFUSED): the answer says no',
    'where the protocol has an answer that can, else the connection ends. Descriptors that nobody took are closed. A front end',
    'that goes away leaves rings and memory to nobody: they are let go, and what was in flight is kept for the next one.',
    '',
    '## Protocol features',
    '',
    '| bit | name | offered |',
    '|---|---|---|',
    ...features.map(([name, bit]) => `| ${bit} | \`${name}\` | ${offer(name, bit, least, most)} |`),
    '',
    '## From the machine',
    '',
    '| | message | needs | served |',
    '|---|---|---|---|',
    ...Object.entries(Request).map(([name, spec]) => row(spec, refused.has(name) ? `no: ${refused.get(name)}` : 'yes')),
    '',
    `GET_CONFIG answers up to ${MAX_CONFIG} bytes; what a device does not have reads as 0.`,
    '',
    '## To the machine',
    '',
    'On the channel of SET_BACKEND_REQ_FD.',
    '',
    '| | message | needs | sent |',
    '|---|---|---|---|',
    ...Object.values(BackendRequest).map((spec) => row(spec, SENT[spec.name] ?? 'never')),
    '',
    `A device may have up to ${MAX_SHMEM_REGIONS} shared memory regions.`,
    '',
    QEMU,
  ].join('\n');
}

const SENT: Readonly<Record<string, string>> = {
  BACKEND_CONFIG_CHANGE_MSG: 'when the device changes its configuration space',
  BACKEND_VRING_CALL: 'in place of an eventfd',
  BACKEND_VRING_ERR: 'in place of an eventfd',
  BACKEND_SHMEM_MAP: 'by code that embeds the back end',
  BACKEND_SHMEM_UNMAP: 'by code that embeds the back end',
};

function row({ id, name, needs }: RequestSpec, served: string): string {
  return `| ${id} | ${name} | ${needs === undefined ? '' : `\`${needs}\``} | ${served} |`;
}

function offer(name: string, bit: number, least: bigint, most: bigint): string {
  const has = (bits: bigint): boolean => ((bits >> BigInt(bit)) & 1n) === 1n;
  if (CONDITIONS[name] !== undefined && has(most)) return CONDITIONS[name];
  return has(least) ? 'yes' : 'no';
}

function offered(configSize: number, options: Omit<SessionOptions, 'log'>): bigint {
  const device = { features: 0n, queueCount: 0, queueSizes: [], configSize } as unknown as BackendDevice;
  return new Session(device, { log: { info() {}, warn() {} }, ...options }).offeredProtocol;
}
