// What a VM can be described by, in a file or by the options of `runtime vm run`. Keys are spelt as crosvm spells its
// options. The descriptions here are those of the published JSON schema.

import { z } from 'zod';

/** Longer ones do not fit into the paths of sockets. */
export const VM_NAME: RegExp = /^[a-z0-9][a-z0-9._-]{0,31}$/;
const DEVICE_ID = /^[a-z][a-z0-9-]{0,23}$/;
const MAC = /^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/;

/** As passt(1) has them, one by one: `2222:22`, `127.0.0.1/8080:80`. */
const ledPort = z
  .string()
  .regex(
    /^(((\d{1,3}\.){3}\d{1,3})\/)?\d{1,5}(:\d{1,5})?$/,
    'must be a port of this computer and one of the guest: 2222:22, or 127.0.0.1/2222:22',
  );

const ipv4 = z.ipv4('must be an IPv4 address such as 100.115.92.26');

const path = z.string().min(1).max(4096);
const deviceId = z
  .string()
  .regex(DEVICE_ID, 'must be a letter and up to 23 letters, digits or "-", in lower case')
  .describe('What it is called in this VM; default: its kind and a number.');

export const blockSchema = z
  .strictObject({
    path: path.describe('File or block device; relative to the description, or to the current folder.'),
    ro: z.boolean().optional().describe('The guest can only read it.'),
    format: z.enum(['raw', 'qcow2']).optional().describe('Default: qcow2 when the name ends so, else raw.'),
    id: z.string().max(20).optional().describe('Serial number that the guest sees.'),
    'block-size': z
      .union([z.literal(512), z.literal(4096)])
      .optional()
      .describe('Of a logical block, in bytes; default 512.'),
    sparse: z.boolean().optional().describe('What the guest discards is given back to the file system; default true.'),
    direct: z.boolean().optional().describe('Past the page cache of the host (O_DIRECT).'),
    queues: z.int().min(1).max(16).optional().describe('Request queues; default 1.'),
    workers: z.int().min(1).max(16).optional().describe('Threads that serve the queues of a raw disk; default 1.'),
    'queue-size': z.int().min(4).max(1024).optional().describe('Requests in a queue, a power of two; default 256.'),
  })
  .describe('A disk.');

export const netSchema = z
  .strictObject({
    backend: z
      .enum(['user', 'passt', 'tap', 'none'])
      .optional()
      .describe(
        "How the guest reaches the network: passt (default, where it is installed), a tap device, or QEMU's own user-mode network.",
      ),
    mac: z
      .string()
      .regex(MAC, 'must be six pairs of hexadecimal digits with ":" between')
      .optional()
      .describe('Default: the next free one from 02:52:54:00:00:01.'),
    'tap-name': z
      .string()
      .min(1)
      .max(15)
      .optional()
      .describe('Of a tap device, which is made where there is none of that name; default: the next of rt0, rt1, …'),
    'vq-pairs': z.int().min(1).max(8).optional().describe('Pairs of queues; default 1.'),
    address: z
      .string()
      .regex(
        /^(\d{1,3}\.){3}\d{1,3}\/([89]|[12]\d|30)$/,
        'must be an IPv4 address and the length of its network: 100.115.92.26/30',
      )
      .optional()
      .describe(
        'Of the guest, with the length of its network; with passt and user only, and with a gateway. Default: with passt that of this computer, with user 10.0.2.15/24.',
      ),
    gateway: ipv4.optional().describe('Of the guest that has an address: another one of its network.'),
    dns: ipv4
      .optional()
      .describe(
        "Of the guest that has an address: what it asks there is asked of this computer's name server. With user it is of the same 256 addresses as the guest.",
      ),
    tcp: z
      .array(ledPort)
      .max(64)
      .optional()
      .describe(
        'Ports of this computer that lead to the guest, with passt only: 2222:22; of one address: 127.0.0.1/2222:22.',
      ),
    udp: z.array(ledPort).max(64).optional().describe('The same for UDP.'),
  })
  .describe('A network card.');

export const vsockSchema = z
  .strictObject({
    cid: z
      .int()
      .min(3)
      .max(0xffff_fffe)
      .optional()
      .describe('Context id of the guest; default: the next free one, from 32.'),
    ports: z
      .array(z.int().min(0).max(0xffff_fffe))
      .max(64)
      .optional()
      .describe('Ports of the guest that get a socket of their own, vsock.sock.g<port>, for clients such as gRPC.'),
  })
  .describe('Sockets between guest and host.');

export const shareSchema = z
  .strictObject({
    path: path.describe('A folder.'),
    tag: z.string().min(1).max(36).describe('What the guest mounts it by: mount -t virtiofs TAG /mnt'),
    ro: z.boolean().optional().describe('The guest can only read it.'),
  })
  .describe('A shared folder. No plugin of this repository has such devices yet.');

export const serialSchema = z
  .strictObject({
    type: z.enum(['stdout', 'file']).describe('stdout: the console of the VM; file: output is appended to a file.'),
    hardware: z.enum(['serial']).optional(),
    num: z
      .int()
      .min(1)
      .max(4)
      .optional()
      .describe('Port: 1 is ttyS0. The console is port 1, a file one of the others.'),
    path: path.optional().describe('Of a file.'),
    earlycon: z.boolean().optional().describe("The kernel's very first messages go there."),
  })
  .describe('A serial port.');

export const deviceSchema = z
  .looseObject({
    kind: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,31}$/, 'must be a name in kebab-case')
      .describe('One of those that runtime vm device kinds lists.'),
    id: deviceId.optional(),
  })
  .describe('A device of another plugin; what else it takes is up to its kind.');

export const descriptionSchema = z
  .strictObject({
    name: z
      .string()
      .regex(VM_NAME, 'must be 1 to 32 letters, digits, ".", "_" or "-", in lower case')
      .optional()
      .describe('Default: the name of the file, or vm and a number.'),
    machine: z.enum(['qemu']).optional().describe('What runs it; default qemu.'),
    board: z.enum(['pc', 'q35']).optional().describe('Default pc, which boots soonest; q35 has PCI Express.'),
    accel: z.enum(['auto', 'kvm', 'tcg']).optional().describe('Default: KVM where it truly runs a guest, else TCG.'),
    kernel: path.optional().describe('A bzImage or an ELF file; default: a kernel of Debian.'),
    initrd: path.optional().describe('Initial file system of that kernel.'),
    params: z
      .union([z.string().max(2048), z.array(z.string().max(2048)).max(64)])
      .optional()
      .describe('Parameters of the kernel.'),
    mem: z
      .union([
        z.int().min(16),
        z.string().regex(/^[1-9][0-9]{0,6}[MG]?$/, 'must be MiB as a number, or such as 512M or 2G'),
      ])
      .optional()
      .describe('Memory: MiB, or such as 2G; at least 64, default 512.'),
    cpus: z.int().min(1).max(64).optional().describe('Default 1.'),
    block: z.array(blockSchema).max(24).optional().describe('Disks: vda, vdb, … in the guest; default: none.'),
    net: z.array(netSchema).max(8).optional().describe('Default: one.'),
    vsock: z.union([z.boolean(), vsockSchema]).optional().describe('Default true.'),
    rng: z.boolean().optional().describe('Random numbers from the host; default true.'),
    balloon: z.boolean().optional().describe('Memory that the guest does not use can be taken back; default false.'),
    input: z
      .array(z.enum(['keyboard', 'mouse', 'tablet']))
      .max(4)
      .optional()
      .describe('Input devices of the machine itself; default: none.'),
    serial: z.array(serialSchema).max(4).optional().describe('Default: the console.'),
    share: z.array(shareSchema).max(8).optional().describe('Shared folders; default: none.'),
    device: z.array(deviceSchema).max(24).optional().describe('Devices of other plugins; default: none.'),
  })
  .describe('A virtual machine.');

/** As it is written. */
export type VmDescription = z.input<typeof descriptionSchema>;
