// The options of `runtime vm run`, spelt as crosvm spells them, and the description they amount to.

import type { CommandSpec, OptionValues } from '@runtime/sdk';
import { z } from 'zod';
import { checkDescription } from '../description/parse.ts';
import {
  blockSchema,
  descriptionSchema,
  netSchema,
  serialSchema,
  shareSchema,
  type VmDescription,
  vsockSchema,
} from '../description/schema.ts';
import { type OptionValue, parseKeyValues } from './key-values.ts';

export const RUN_SPEC = {
  name: 'vm run',
  summary: 'boot a VM and show its console',
  description:
    'Boots a kernel, by default one of Debian with a small system, and connects this terminal to its console. ' +
    'Ctrl+] ends it. Without a terminal and without a kernel, the guest checks its devices and ends. ' +
    'Exit codes: 0 it was stopped or switched itself off, 32 reset, 33 crash, 34 panic of the guest, 35 wrong options.',
  lasting: true,
  args: [{ name: 'kernel', summary: 'a bzImage or an ELF file; default: a kernel of Debian' }],
  options: {
    name: { type: 'string', summary: 'what the VM is called' },
    mem: { type: 'string', short: 'm', summary: 'memory: MiB, or such as 2G; default 512' },
    cpus: { type: 'string', short: 'c', summary: 'virtual CPUs; default 1' },
    block: {
      type: 'string',
      short: 'b',
      multiple: true,
      summary: 'a disk: PATH[,ro][,format=raw|qcow2][,id=SERIAL][,block-size=512|4096][,direct][,queues=N]',
    },
    initrd: { type: 'string', short: 'i', summary: 'initial file system of the kernel' },
    params: { type: 'string', short: 'p', multiple: true, summary: 'parameters of the kernel' },
    vsock: { type: 'string', summary: 'sockets between guest and host: cid=N, or none' },
    net: {
      type: 'string',
      multiple: true,
      summary:
        'a network card: backend=user|passt|tap|none[,mac=…][,tap-name=…]; default backend=passt, where it is installed',
    },
    serial: {
      type: 'string',
      multiple: true,
      summary: 'a serial port: type=stdout|file[,num=1..4][,path=…][,earlycon]',
    },
    rng: { type: 'boolean', default: true, summary: 'random numbers from the host; --no-rng leaves them out' },
    balloon: { type: 'boolean', summary: 'a balloon for memory' },
    input: { type: 'string', multiple: true, choices: ['keyboard', 'mouse', 'tablet'], summary: 'an input device' },
    sharedDir: { type: 'string', multiple: true, summary: 'a shared folder: PATH,tag=TAG[,ro]' },
    device: { type: 'string', multiple: true, summary: 'a device of another plugin: KIND[,key=value…]' },
    board: { type: 'string', choices: ['pc', 'q35'], summary: 'default pc' },
    accel: { type: 'string', choices: ['auto', 'kvm', 'tcg'], summary: 'default auto' },
  },
} as const satisfies CommandSpec;

export type RunOptions = OptionValues<typeof RUN_SPEC>;

type Values = Readonly<Record<string, unknown>>;

/** @throws VMM_ERR_DESCRIPTION */
export function describeRun(kernel: string | undefined, options: RunOptions): VmDescription {
  const { name, mem, cpus, block, initrd, params, vsock, net, serial, rng, balloon, input, sharedDir, device } =
    options;
  const value = {
    name,
    kernel,
    mem: mem === undefined ? undefined : only(parseKeyValues(mem, '--mem', 'size'), 'size'),
    cpus: cpus === undefined ? undefined : only(parseKeyValues(cpus, '--cpus', 'num-cores'), 'num-cores'),
    initrd,
    params: params.length === 0 ? undefined : params.join(' '),
    board: options.board,
    accel: options.accel,
    block: list(block, (text) => typed(parseKeyValues(text, '--block', 'path'), blockSchema)),
    net: list(net, (text) => typed(parseKeyValues(text, '--net', 'backend'), netSchema)),
    vsock: vsock === undefined ? undefined : vsockOf(vsock),
    serial: list(serial, (text) => typed(parseKeyValues(text, '--serial', 'type'), serialSchema)),
    rng: rng ? undefined : false,
    balloon: balloon ? true : undefined,
    input: input.length === 0 ? undefined : input,
    share: list(sharedDir, (text) => typed(parseKeyValues(text, '--shared-dir', 'path'), shareSchema)),
    device: list(device, (text) => guessed(parseKeyValues(text, '--device', 'kind'))),
  };
  const given = Object.entries(value).filter(([, part]) => part !== undefined);
  return checkDescription(
    typed(Object.fromEntries(given) as Readonly<Record<string, OptionValue>>, descriptionSchema),
    'the options',
  );
}

function vsockOf(text: string): unknown {
  return text === 'none' ? false : typed(parseKeyValues(text, '--vsock', 'cid'), vsockSchema);
}

function list<T>(texts: readonly string[], parse: (text: string) => T): readonly T[] | undefined {
  return texts.length === 0 ? undefined : texts.map(parse);
}

/** Other keys than the one are left for the schema to refuse. */
function only(values: Readonly<Record<string, OptionValue>>, key: string): unknown {
  const { [key]: value, ...others } = values;
  return Object.keys(others).length === 0 && typeof value === 'string' ? value : values;
}

/** Texts that are numbers or flags in the schema, as these. */
function typed(values: Readonly<Record<string, unknown>>, schema: z.ZodObject): Values {
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => {
      const property = schema.shape[key] as z.ZodType | undefined;
      if (property === undefined) return [key, value];
      if (Array.isArray(value)) return [key, convertList(value as readonly string[], property)];
      return [key, typeof value === 'string' ? convert(value, property) : value];
    }),
  );
}

function convert(text: string, schema: z.ZodType): unknown {
  const number = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : undefined;
  const flag = text === 'true' ? true : text === 'false' ? false : undefined;
  // The text itself where it fits: a file may be called 1.
  return (
    [text, number, flag].find((candidate) => candidate !== undefined && schema.safeParse(candidate).success) ?? text
  );
}

function convertList(texts: readonly string[], schema: z.ZodType): unknown {
  return schema.safeParse(texts).success ? texts : texts.map((text) => convert(text, z.number()));
}

/** Of options whose schema is elsewhere: what looks like a number or a flag is one. */
export function guessed(values: Readonly<Record<string, OptionValue>>): Values {
  const any = z.union([z.number(), z.boolean()]);
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => [
      key,
      typeof value === 'string' && key !== 'kind' && key !== 'id' ? convert(value, any) : value,
    ]),
  );
}
