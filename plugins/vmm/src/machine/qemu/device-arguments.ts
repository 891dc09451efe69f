// How each device is spelt for QEMU: on its command line, and for device_add.

import type { VirtioDeviceName } from '@runtime/sdk/virtio';
import type { Accelerator, GuestAddress, MachineDevice, NativeDevice } from '../../contract.ts';
import { errors } from '../../errors.ts';

/** Properties of one -device: what device_add takes as arguments. */
export interface DeviceProperties {
  readonly driver: string;
  readonly id: string;
  readonly [property: string]: string | number | boolean;
}

export interface DeviceArguments {
  /** Before the device: `-netdev …`. Each is an option and its value. */
  readonly before: readonly (readonly [option: string, value: string])[];
  readonly device: DeviceProperties;
}

const DRIVERS: Partial<Record<VirtioDeviceName, string>> = {
  block: 'vhost-user-blk-pci',
  net: 'virtio-net-pci',
  rng: 'vhost-user-rng-pci',
  vsock: 'vhost-user-vsock-pci',
  fs: 'vhost-user-fs-pci',
  input: 'vhost-user-input-pci',
  gpu: 'vhost-user-gpu-pci',
  i2c: 'vhost-user-i2c-pci',
  gpio: 'vhost-user-gpio-pci',
} as Partial<Record<VirtioDeviceName, string>>;

/**
 * Types whose front end in QEMU 7.2 does not begin anew on a second connection (hw/virtio/vhost-user-*.c has no handler
 * for it): the device has to be unplugged and plugged in again.
 */
export const NEEDS_REPLUG: ReadonlySet<string> = new Set(['vsock', 'fs', 'gpu']);

export const chardevOf = (id: string): string => `${id}-vhost`;

/** QEMU marks only sockets that it bound itself as able to pass descriptors, which its net/vhost-user.c asks for. */
export const bindsItself = (type: string): boolean => type === 'net';

/**
 * A comma in a value is doubled, qemu-option.c. @throws VMM_ERR_DEVICE_TYPE
 */
export function vhostDevice(device: MachineDevice, accelerator: Accelerator): DeviceArguments {
  const { id, type, slot, queueSizes } = device;
  const driver = DRIVERS[type];
  if (driver === undefined) throw refuse(device, 'QEMU has no vhost-user front end for it');
  if (type === 'input' && accelerator === 'tcg') throw refuse(device, 'QEMU wants KVM for it');
  const common = { driver, id, addr: slot.toString(16) };
  const chardev = chardevOf(id);
  const size = queueSizes[0] ?? 256;
  switch (type) {
    case 'block':
      return {
        before: [],
        device: { ...common, ...MODERN, chardev, 'num-queues': queueSizes.length, 'queue-size': size },
      };
    case 'fs':
      return {
        before: [],
        device: {
          ...common,
          chardev,
          tag: device.tag ?? id,
          'num-request-queues': Math.max(1, queueSizes.length - 1),
          'queue-size': size,
        },
      };
    case 'net': {
      const pairs = Math.max(1, Math.floor(queueSizes.length / 2));
      return {
        before: [['-netdev', `vhost-user,id=${id}-net,chardev=${chardev},queues=${pairs}`]],
        device: {
          ...common,
          ...MODERN,
          netdev: `${id}-net`,
          ...(device.mac === undefined ? {} : { mac: device.mac }),
          ...(pairs > 1 ? { mq: true } : {}),
          // Without irqfd, which only KVM has, QEMU 7.2 follows a null pointer when the guest unmasks an MSI-X vector of
          // a vhost-user network card (virtio_pci_vector_unmask).
          ...(accelerator === 'tcg' ? { vectors: 0 } : {}),
        },
      };
    }
    default:
      return { before: [], device: { ...common, chardev } };
  }
}

export function nativeDevice({ id, kind, slot, mac, guest }: NativeDevice): DeviceArguments {
  const place = { id, addr: slot.toString(16) };
  switch (kind) {
    case 'user-net':
      return {
        before: [['-netdev', `user,${optionValues(userNetdev(id, guest))}`]],
        device: {
          driver: 'virtio-net-pci',
          ...place,
          ...MODERN,
          netdev: `${id}-net`,
          ...(mac === undefined ? {} : { mac }),
        },
      };
    case 'balloon':
      return {
        before: [],
        // Pages that the guest frees go back to the host at once, whatever size the balloon has.
        device: {
          ...{ driver: 'virtio-balloon-pci', ...place, ...MODERN },
          ...{ 'deflate-on-oom': true, 'free-page-reporting': true },
        },
      };
    case 'keyboard':
    case 'tablet':
    case 'mouse':
      return { before: [], device: { driver: `virtio-${kind}-pci`, ...place } };
  }
}

/**
 * QEMU answers to gateway and name server itself, which must both be of its network (net/slirp.c); a /30 has room for
 * one, so that its network is the /24 around the guest. The guest does not notice: what is not of its network it sends to
 * the gateway.
 */
export function userNetdev(id: string, guest: GuestAddress | undefined): Readonly<Record<string, string>> {
  if (guest === undefined) return { id: `${id}-net` };
  const { address, gateway, dns } = guest;
  const [own = ''] = address.split('/');
  const net = `${own.split('.').slice(0, 3).join('.')}.0/24`;
  return { id: `${id}-net`, net, host: gateway, dhcpstart: own, ...(dns === undefined ? {} : { dns }) };
}

/** Of the drivers that would be of both kinds: rings of virtio 1.x only, since the older ones are checked by nobody. */
const MODERN = { 'disable-legacy': true } as const;

/** `driver,key=value,…` */
export function deviceOption({ driver, ...properties }: DeviceProperties): string {
  return [driver, optionValues(properties)].join(',');
}

function optionValues(values: Readonly<Record<string, string | number | boolean>>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key}=${escapeValue(optionText(value))}`)
    .join(',');
}

export function escapeValue(text: string): string {
  return text.replaceAll(',', ',,');
}

function optionText(value: string | number | boolean): string {
  return typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
}

function refuse({ id, type }: MachineDevice, why: string): Error {
  return errors.VMM_ERR_DEVICE_TYPE({ details: { device: id, type, why } });
}
